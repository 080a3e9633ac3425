"""The network: shapes, and a bound on its incremental gain that holds for every option."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench import registry
from ssmbench.analysis.attack import attack
from ssmbench.analysis.gain import analyse
from ssmbench.errors import UsageError
from ssmbench.nn.blocks.base import Block, Residual
from ssmbench.nn.bounds import is_finite, linear_bound
from ssmbench.nn.linear import BoundedLinear
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.pooling import Pooling
from tests.builders import (
    build_block,
    build_layer,
    build_model,
    build_parametrization,
    discretizer_for,
)

D_MODEL, LENGTH = 3, 24
NONLINEARITIES = [e.name for e in registry.nonlinearities if e.factory.lipschitz is not None]
POOLINGS = [None, *Pooling]


def block(
    parametrization: str = "s4d",
    nonlinearity: str = "gelu",
    norm: str = "none",
    discretizer: str = "zoh",
    **options,
) -> Block:
    small = {"d_state": 4, "dt_min": 0.1, "dt_max": 0.5} if parametrization == "s4d" else {}
    module = build_parametrization(parametrization, D_MODEL, **small)
    layer = build_layer(module, discretizer_for(parametrization, discretizer))
    return build_block(layer, nonlinearity, D_MODEL, norm=norm, **options)


def model_of(*blocks: Block, pooling: Pooling | None = None, inputs: int = 2, **options):
    return build_model(
        blocks, inputs=inputs, d_model=D_MODEL, outputs=4, pooling=pooling, **options
    )


def gains(model: SequenceModel) -> list[float]:
    return [analyse(layer.system()).hinf for layer in model.layers]


def bound_of(model: SequenceModel) -> float:
    return model.bound(gains(model), LENGTH).value


def growth(function, u, v) -> float:
    with torch.no_grad():
        return ((function(u) - function(v)).norm() / (u - v).norm()).item()


# --- bounds hold ----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    parametrization=st.sampled_from(["s4d", "l2ru"]),
    nonlinearity=st.sampled_from(NONLINEARITIES),
    mix=st.booleans(),
    residual=st.sampled_from(Residual),
    pooling=st.sampled_from(POOLINGS),
    depth=st.integers(1, 3),
    size=st.sampled_from([0.01, 1.0, 100.0]),
    distance=st.sampled_from([1e-3, 1.0, 100.0]),
    seed=st.integers(0, 10_000),
)
def test_random_differences_stay_below_the_bound(
    parametrization, nonlinearity, mix, residual, pooling, depth, size, distance, seed
):
    torch.manual_seed(seed)
    parts = [
        block(parametrization, nonlinearity, mix=mix, residual=residual, dropout=0.5)
        for _ in range(depth)
    ]
    model = model_of(*parts, pooling=pooling).double().eval()
    bound = bound_of(model)
    u = size * torch.randn(1, LENGTH, 2, dtype=torch.float64)
    v = u + distance * torch.randn(1, LENGTH, 2, dtype=torch.float64)
    assert growth(model, u, v) <= bound * (1 + 1e-6)
    part = model.blocks[0]
    x, y = size * torch.randn(2, 1, LENGTH, D_MODEL, dtype=torch.float64)
    assert growth(part, x, y) <= part.bound(gains(model)[0]).value * (1 + 1e-6)


@pytest.mark.parametrize("pooling", POOLINGS, ids=str)
@pytest.mark.parametrize(("mix", "residual"), [*itertools.product((True, False), Residual)])
def test_an_adversary_stays_below_the_bound_and_comes_near(mix, residual, pooling):
    """A linear network leaves less room: the bound must not be loose by a great factor."""
    torch.manual_seed(1)
    model = model_of(block(nonlinearity="identity", mix=mix, residual=residual), pooling=pooling)
    model = model.double().eval()
    base = torch.zeros(6, LENGTH, 2, dtype=torch.float64)
    found = attack(model, base, torch.ones(6), steps=60, seed=0).gain
    bound = bound_of(model)
    assert found <= bound * (1 + 1e-9)
    assert found >= bound / (40 if pooling is Pooling.last else 10)


def test_biases_do_not_matter():
    torch.manual_seed(0)
    model = model_of(block(nonlinearity="identity")).double()
    before = bound_of(model)
    with torch.no_grad():
        for linear in (model.encoder, model.decoder, model.blocks[0].mix):
            linear.bias.fill_(1e3)
    assert bound_of(model) == before
    u, v = torch.randn(2, 1, LENGTH, 2, dtype=torch.float64)
    assert growth(model, u, v) <= before


# --- each factor, by itself and tight -------------------------------------------------------------


def test_linear_map_has_its_spectral_norm():
    linear = torch.nn.Linear(2, 3)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]]))
    assert linear_bound(linear).value == pytest.approx(4.0)
    assert linear_bound(torch.nn.Identity()).value == 1


def test_bound_of_a_bounded_map_that_redefines_its_weight_is_measured():
    class Doubled(BoundedLinear):
        def effective_weight(self, gain=1.0):
            return 2 * super().effective_weight(gain)

    assert linear_bound(Doubled(3, 3)).value == pytest.approx(2.0)


def test_residual_adds_one():
    inner = block(nonlinearity="identity", mix=False, residual=Residual.none)
    outer = block(nonlinearity="identity", mix=False, residual=Residual.add)
    assert inner.bound(2.5).value == pytest.approx(2.5)
    assert outer.bound(2.5).value == pytest.approx(3.5)


def test_a_convex_residual_is_a_mean():
    part = block(nonlinearity="identity", mix=False, residual=Residual.convex)
    assert part.bound(3.0).value == pytest.approx(2.0)  # half of each at the start
    assert part.bound(1.0).value == pytest.approx(1.0)
    with torch.no_grad():
        part.share.fill_(-50)
    assert part.bound(3.0).value == pytest.approx(1.0)


def test_mixing_and_nonlinearity_multiply():
    part = block(nonlinearity="gelu", mix=True, residual=Residual.none)
    sigma = torch.linalg.matrix_norm(part.mix.weight, 2).item()
    assert part.bound(2.0).value == pytest.approx(2.0 * 1.128905 * sigma, rel=1e-6)


def test_bound_grows_with_each_layers_gain():
    torch.manual_seed(0)
    model = model_of(block(), block())
    low = model.bound([1.0, 1.0], LENGTH).value
    assert low < model.bound([2.0, 1.0], LENGTH).value
    assert low < model.bound([1.0, 2.0], LENGTH).value


@pytest.mark.parametrize("length", [1, 7, 100])
def test_mean_pooling_divides_by_the_root_of_the_length_and_is_tight(length):
    torch.manual_seed(0)
    pooled, last, steps = (model_of(pooling=p).double() for p in (Pooling.mean, Pooling.last, None))
    for other in (last, steps):
        other.load_state_dict(pooled.state_dict())
    whole = steps.bound([], length).value
    assert last.bound([], length).value == pytest.approx(whole)
    assert pooled.bound([], length).value == pytest.approx(whole / math.sqrt(length))
    weights = pooled.decoder.weight @ pooled.encoder.weight
    worst = torch.linalg.svd(weights).Vh[0].expand(1, length, 2).detach()  # a constant signal
    product = torch.linalg.matrix_norm(weights, 2).item() / math.sqrt(length)
    assert growth(pooled, worst, 0 * worst) == pytest.approx(product)


def test_one_bound_a_layer_is_needed():
    with pytest.raises(ValueError, match="zip"):
        model_of(block()).bound([1.0, 1.0], LENGTH)


# --- no bound, and why ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"norm": "layer"}, "LayerNorm divides by the signal's spread"),
        ({"nonlinearity": "glu"}, "gated linear unit"),
    ],
)
@pytest.mark.parametrize("pooling", POOLINGS, ids=str)
def test_no_finite_bound_and_why(options, reason, pooling):
    model = model_of(block(), block(**options), pooling=pooling)
    found = model.bound([1.0, 1.0], LENGTH)
    assert found.value == math.inf
    assert reason in found.reason


def test_layer_norm_has_indeed_no_bound():
    """Around a constant signal its slope is as large as you like."""
    torch.manual_seed(0)
    model = model_of(block(norm="layer")).double().eval()
    still = torch.zeros(1, LENGTH, 2, dtype=torch.float64)
    with torch.no_grad():
        model.encoder.bias.fill_(1.0)
    slopes = [growth(model, still + e, still) for e in (1e-1, 1e-2)]
    assert slopes[1] > 2 * slopes[0]


@pytest.mark.parametrize("gain", [math.inf, math.nan])
def test_unstable_layer_leaves_no_bound(gain):
    found = model_of(block()).bound([gain], LENGTH)
    assert (found.value, found.reason) == (math.inf, "an SSM layer is unstable")


@pytest.mark.parametrize("where", ["encoder", "decoder", "blocks.0.mix"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weight_that_is_not_finite_leaves_no_bound(where, value):
    model = model_of(block())
    assert is_finite(model)
    with torch.no_grad():
        model.get_submodule(where).weight[0, 0] = value
    assert not is_finite(model)
    assert model.bound([1.0], LENGTH).reason == "a weight is not finite"


def test_a_silent_decoder_does_not_hide_an_unstable_layer():
    model = model_of(block())
    with torch.no_grad():
        model.decoder.weight.zero_()
    assert model.bound([math.inf], LENGTH).value == math.inf
    assert model.bound([5.0], LENGTH).value == 0


# --- shapes and options ---------------------------------------------------------------------------


@pytest.mark.parametrize("norm", registry.norms.names())
@pytest.mark.parametrize("nonlinearity", registry.nonlinearities.names())
def test_shapes_per_step_and_pooled(nonlinearity, norm):
    u = torch.randn(5, LENGTH, 2)
    for pooling in POOLINGS:
        model = model_of(block(nonlinearity=nonlinearity, norm=norm), pooling=pooling)
        assert model(u).shape == ((5, LENGTH, 4) if pooling is None else (5, 4))


def test_network_without_blocks_is_linear():
    assert model_of()(torch.zeros(1, 3, 2)).shape == (1, 3, 4)


def test_pooling_means_what_it_says():
    torch.manual_seed(0)
    steps = model_of(block())
    u = torch.randn(2, LENGTH, 2)
    for pooling, expected in ((Pooling.mean, steps(u).mean(1)), (Pooling.last, steps(u)[:, -1])):
        pooled = model_of(block(), pooling=pooling)
        pooled.load_state_dict(steps.state_dict())
        assert torch.allclose(pooled(u), expected, atol=1e-5)


def test_residual_and_order_of_a_block():
    torch.manual_seed(0)
    part = block(norm="layer", nonlinearity="tanh").eval()
    x = torch.randn(2, LENGTH, D_MODEL)
    expected = x + part.mix(torch.tanh(part.layer(part.norm(x))))
    assert torch.allclose(part(x), expected)
    part.residual = False
    assert torch.allclose(part(x), expected - x, atol=1e-6)


def test_dropout_acts_in_training_alone():
    torch.manual_seed(0)
    part, x = block(dropout=0.5), torch.randn(1, LENGTH, D_MODEL)
    assert not torch.equal(part.train()(x), part(x))
    assert torch.equal(part.eval()(x), part(x))


def test_layers_are_listed_first_to_last_and_parameters_counted():
    parts = [block(), block()]
    model = model_of(*parts)
    assert model.layers == [p.layer for p in parts]
    assert model.parameter_count() == sum(p.numel() for p in model.parameters())
    model.encoder.weight.requires_grad_(False)
    assert model.parameter_count() == sum(p.numel() for p in model.parameters()) - 2 * D_MODEL


# --- a prescribed gain ----------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    parametrization=st.sampled_from(["l2ru", "contraction"]),
    nonlinearity=st.sampled_from(NONLINEARITIES),
    mix=st.booleans(),
    residual=st.sampled_from(Residual),
    pooling=st.sampled_from(POOLINGS),
    depth=st.integers(1, 3),
    gamma=st.sampled_from([0.01, 1.0, 30.0]),
    scale=st.sampled_from([0.1, 1.0, 5.0]),
    seed=st.integers(0, 10_000),
)
def test_a_network_meets_its_gamma_for_any_parameters(
    parametrization, nonlinearity, mix, residual, pooling, depth, gamma, scale, seed
):
    torch.manual_seed(seed)
    options = {"mix": mix, "residual": residual, "bounded": True}
    parts = [block(parametrization, nonlinearity, **options) for _ in range(depth)]
    model = model_of(*parts, pooling=pooling, gamma=gamma).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, scale)
    assert bound_of(model) <= gamma * (1 + 1e-4)
    u, v = torch.randn(2, 1, LENGTH, 2, dtype=torch.float64)
    assert growth(model, u, v) <= gamma * (1 + 1e-4)


def test_the_gain_of_a_linear_network_comes_near_its_gamma():
    torch.manual_seed(0)
    options = {"mix": False, "residual": Residual.none, "bounded": True}
    model = model_of(
        block("contraction", "identity", **options), inputs=D_MODEL, gamma=7.0
    ).double()
    with torch.no_grad():  # isometries, so that nothing is lost between the parts; short memory
        model.layers[0].parametrization.poles.log_decay.fill_(0.0)
        model.encoder.weight.copy_(torch.eye(D_MODEL))
        model.decoder.weight.copy_(torch.eye(4, D_MODEL))
    found = attack(model, torch.zeros(6, 200, D_MODEL).double(), torch.ones(6), steps=80, seed=0)
    bound = bound_of(model)
    assert 0.95 * bound < found.gain <= bound * (1 + 1e-6)
    assert 3.5 < bound < 7.0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "block 0 declares no gain"),
        ({"parametrization": "l2ru", "nonlinearity": "glu"}, "multiplies two signals"),
        ({"parametrization": "l2ru", "norm": "layer"}, "LayerNorm divides"),
    ],
)
def test_a_network_that_cannot_meet_a_gamma_is_refused_with_the_reason(options, reason):
    part = block(**options)
    with pytest.raises(UsageError, match=reason):
        model_of(part, gamma=1.0)


@pytest.mark.parametrize("gamma", [0.0, -1.0, math.inf])
def test_a_gamma_must_be_positive(gamma):
    with pytest.raises(UsageError, match=r"model\.gamma: must be positive"):
        model_of(block("l2ru"), gamma=gamma)
