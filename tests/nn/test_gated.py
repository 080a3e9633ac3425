"""Gated linear units and tied dropout against plain statements of the published equations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ssmbench import registry
from ssmbench.config import fingerprint, resolve
from ssmbench.nn.dropout import TiedDropout
from ssmbench.nn.nonlinearities.gated import GLUConfig
from tests.builders import build_block, build_norm
from tests.nn.networks import layer_of

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def glu(**options):
    torch.manual_seed(0)
    return registry.nonlinearities.get("glu").build(GLUConfig(**options), d_model=4).double()


def signal(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return 2 * torch.randn(*shape, 4, dtype=torch.float64, generator=generator)


def gelu(x: torch.Tensor, form: str) -> torch.Tensor:
    if form == "exact":
        return x * (1 + torch.erf(x / math.sqrt(2))) / 2
    return x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


@pytest.mark.parametrize("approximation", ["exact", "tanh"])
def test_forms_are_those_of_the_published_code(approximation):
    x = signal(2, 5)
    g = gelu(x, approximation)
    full = glu(gelu=approximation)
    (V, W), (a, b) = full.linear.weight.chunk(2), full.linear.bias.chunk(2)
    expected = (g @ V.T + a) / (1 + torch.exp(-(g @ W.T + b)))
    torch.testing.assert_close(full(x), expected, **EXACT)
    for form, value in (("half1", g), ("half2", x)):
        half = glu(form=form, gelu=approximation)
        gate = 1 / (1 + torch.exp(-(g @ half.linear.weight.T + half.linear.bias)))
        torch.testing.assert_close(half(x), value * gate, **EXACT)


def test_gelu_tanh_is_its_equation():
    module, x = registry.nonlinearities.get("gelu_tanh").build(d_model=4), signal(2, 5)
    torch.testing.assert_close(module(x), gelu(x, "tanh"), **EXACT)


@pytest.mark.parametrize("form", ["half1", "half2"])
def test_a_half_form_has_no_constant_either(form):
    assert "multiplies two signals" in glu(form=form).bound().reason


def test_a_unit_without_dropout_draws_no_random_numbers():
    module, x = glu().train(), signal(2, 5)
    torch.manual_seed(0)
    module(x)
    after = torch.rand(())
    torch.manual_seed(0)
    assert torch.rand(()) == after


# --- dropout ------------------------------------------------------------------------------------


def test_tied_dropout_has_one_mask_a_sequence_and_channel():
    torch.manual_seed(0)
    x = torch.ones(200, 6, 4, dtype=torch.float64)
    y = TiedDropout(0.25).train()(x)
    assert torch.equal(y, y[:, :1].expand_as(y))
    values = torch.tensor([0.0, 1 / 0.75], dtype=torch.float64)
    torch.testing.assert_close(y.unique(), values, **EXACT)
    assert (y[:, 0] == 0).double().mean().item() == pytest.approx(0.25, abs=5 * 0.433 / 800**0.5)


def test_tied_dropout_is_absent_in_evaluation():
    x = signal(2, 5)
    assert torch.equal(TiedDropout(0.5).eval()(x), x)
    assert torch.equal(TiedDropout(0.0).train()(x), x)


@pytest.mark.parametrize("tied", [False, True])
def test_dropout_inside_the_gate(tied):
    """Half 1 of S5 with both linear maps zero: half of what dropout keeps of GELU(x)."""
    module, x = glu(form="half1", dropout=0.5, dropout_tied=tied).train(), signal(3, 7)
    with torch.no_grad():
        module.linear.weight.zero_()
        module.linear.bias.zero_()
    ratio = (module(x) / gelu(x, "exact")).round(decimals=9)
    assert set(ratio.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(ratio[:, :1].expand_as(ratio), ratio) == tied


def test_a_block_of_s5():
    """lindermanlab/S5, s5/layers.py, SequenceLayer: half_glu2, prenorm, batchnorm, in training and
    without dropout, around the layer."""
    unit = glu(form="half2", gelu="tanh")
    layer, norm = layer_of("s5").double(), build_norm("batch").double()
    block = build_block(layer, unit, norm=norm, mix=False).double().train()
    skip = signal(3, 9)
    mean, variance = skip.mean((0, 1)), skip.var((0, 1), correction=0)
    x = layer((skip - mean) / torch.sqrt(variance + 1e-5))
    x1 = gelu(x, "tanh")
    expected = skip + x * torch.sigmoid(x1 @ unit.linear.weight.T + unit.linear.bias)
    torch.testing.assert_close(block(skip), expected, **EXACT)


def test_a_block_takes_tied_dropout():
    block = build_block(layer_of("s4d"), dropout=0.5, dropout_tied=True)
    assert isinstance(block.dropout, TiedDropout)
    assert isinstance(build_block(layer_of("s4d"), dropout=0.5).dropout, nn.Dropout)


#: Fingerprint of a config before gated linear units had options.
BEFORE = "eabbffbb48ec"


def test_defaults_are_no_part_of_the_fingerprint():
    model = {"nonlinearity": "glu", "discretizer": "zoh"}
    explicit = {"nonlinearity": {"name": "glu", "form": "full", "gelu": "exact", "dropout": 0.0}}
    for more in ({}, explicit, {"dropout_tied": False}):
        assert fingerprint(resolve({"task": "digits", "model": model | more})) == BEFORE
    half = {"nonlinearity": {"name": "glu", "form": "half2"}}
    assert fingerprint(resolve({"task": "digits", "model": model | half})) != BEFORE
