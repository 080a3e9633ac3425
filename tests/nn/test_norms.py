"""Norms against plain PyTorch, their constants, and the networks that contain them."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from ssmbench import registry
from ssmbench.config import fingerprint, resolve
from ssmbench.errors import UsageError
from ssmbench.nn.blocks.base import NormPosition
from ssmbench.nn.freeze import freeze
from ssmbench.nn.pooling import Pooling
from ssmbench.scans.sequence_parallel import Segments
from ssmbench.testing import conform
from tests.builders import build_block, build_model, build_norm
from tests.nn.networks import layer_of, network, signal

D, EXACT = 4, {"rtol": 1e-12, "atol": 1e-12}
PLAIN = {
    "none": lambda x, weight, bias: x,
    "layer": lambda x, weight, bias: nn.functional.layer_norm(x, (D,), weight, bias),
    "rms": lambda x, weight, bias: x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight,
}


def norm_of(name: str, **options):
    """In float64, with weights drawn at random."""
    module = build_norm(name, D, **options).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module


def steps(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return 2 + 3 * torch.randn(*shape, D, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("name", PLAIN)
def test_a_norm_is_the_published_equation(name):
    module, x = norm_of(name), steps(3, 7)
    weights = [getattr(module, part, torch.zeros(D)) for part in ("weight", "bias")]
    torch.testing.assert_close(module(x), PLAIN[name](x, *weights), **EXACT)


def test_eps_is_an_option():
    x, module = steps(2, 3), norm_of("layer", eps=1e-2)
    expected = nn.functional.layer_norm(x, (D,), module.weight, module.bias, 1e-2)
    torch.testing.assert_close(module(x), expected, **EXACT)


# --- batch --------------------------------------------------------------------------------------


def copy_of(module) -> nn.BatchNorm1d:
    plain = nn.BatchNorm1d(D, eps=module.eps, momentum=module.momentum).double()
    plain.load_state_dict({"weight": module.weight, "bias": module.bias}, strict=False)
    return plain


def test_batch_norm_is_torchs_in_training_and_evaluation():
    module = norm_of("batch", eps=1e-3, momentum=0.3)
    plain = copy_of(module)
    for seed in range(3):
        x = (seed + 1) * steps(3, 7)
        torch.testing.assert_close(module(x), plain(x.mT).mT, **EXACT)
    torch.testing.assert_close(module.mean, plain.running_mean, **EXACT)
    torch.testing.assert_close(module.variance, plain.running_var, **EXACT)
    module.eval(), plain.eval()
    torch.testing.assert_close(module(x), plain(x.mT).mT, **EXACT)


def test_batch_norm_without_weights_and_with_the_biased_variance():
    module, x = norm_of("batch", affine=False, variance="biased", momentum=0.3), steps(3, 7)
    assert not list(module.parameters())
    plain = nn.BatchNorm1d(D, affine=False).double()
    torch.testing.assert_close(module(x), plain(x.mT).mT, **EXACT)
    biased = x.var((0, 1), unbiased=False)
    torch.testing.assert_close(module.variance, 0.7 + 0.3 * biased, **EXACT)
    expected = (module.variance + 1e-5).rsqrt().max().item()
    assert module.bound().value == pytest.approx(expected)


@pytest.mark.parametrize(
    "options", [{"affine": False}, {"variance": "biased"}, {"training": "running"}]
)
def test_batch_norm_conforms_with_its_options(options):
    entry = registry.norms.get("batch")
    conform(entry, config=entry.config(**options))


def test_batch_norm_of_a_padded_batch_is_that_of_its_valid_steps():
    module = norm_of("batch")
    plain = copy_of(module)
    x, lengths = steps(3, 7), torch.tensor([7, 2, 4])
    valid = torch.arange(7) < lengths[:, None]
    filled = torch.where(valid[..., None], x, 1e3).requires_grad_()
    y = module(filled, lengths)
    torch.testing.assert_close(y[valid], plain(x[valid]), **EXACT)
    torch.testing.assert_close(module.variance, plain.running_var, **EXACT)
    y[valid].pow(3).sum().backward()
    assert not filled.grad[~valid].any()


def test_batch_norm_keeps_its_averages_in_evaluation_and_without_sequences():
    module = norm_of("batch").eval()
    module(steps(2, 3))
    module.train()(steps(0, 3))
    assert not module.mean.any()
    assert (module.variance == 1).all()


def test_a_batch_of_one_step_has_finite_averages():
    module = norm_of("batch")
    assert torch.isfinite(module(steps(1, 1))).all()
    assert torch.isfinite(module.variance).all()


# --- constants ----------------------------------------------------------------------------------


def slope(module, x: torch.Tensor) -> float:
    jacobian = torch.autograd.functional.jacobian(module, x[None, None])
    return torch.linalg.matrix_norm(jacobian.reshape(D, D), 2).item()


def test_the_constant_of_rms_is_reached_at_zero():
    module = norm_of("rms", eps=0.25)
    expected = 2 * module.weight.abs().max().item()
    assert module.bound().value == pytest.approx(expected, rel=1e-12)
    at_zero = slope(module, torch.zeros(D, dtype=torch.float64))
    assert at_zero == pytest.approx(expected, rel=1e-12)
    assert all(slope(module, x) < expected for x in steps(20))


def test_the_constant_of_batch_norm_is_its_slope_in_evaluation():
    module = norm_of("batch")
    module(steps(3, 7))
    assert module.eval().bound().value == pytest.approx(slope(module, steps()), rel=1e-12)


@pytest.mark.parametrize("name", ["batch", "rms"])
def test_a_weight_that_is_not_finite_leaves_no_bound(name):
    module = norm_of(name)
    with torch.no_grad():
        module.weight[1] = math.nan
    assert module.bound().reason == "a weight is not finite"


def test_layer_norm_says_why_it_has_none():
    assert "spread, which may vanish" in norm_of("layer").bound().reason


# --- in blocks and networks -----------------------------------------------------------------------


@pytest.mark.parametrize("name", registry.norms.names())
def test_position_in_a_block(name):
    torch.manual_seed(0)
    layer, x = layer_of("s4d"), steps(2, 9)
    parts = {"norm": norm_of(name), "nonlinearity": "tanh"}
    pre = build_block(layer, d_model=D, **parts).double()
    post = build_block(layer, d_model=D, norm_position=NormPosition.post, **parts).double()
    post.mix = pre.mix
    n = parts["norm"]
    expected = x + pre.mix(torch.tanh(layer(n(x))))
    torch.testing.assert_close(pre(x), expected, **EXACT)
    torch.testing.assert_close(post(x), n(x + pre.mix(torch.tanh(layer(x)))), **EXACT)


def with_norms(position: NormPosition, norm: str, final: str, gamma: float | None = None):
    """A contractive network with norms of this kind, in evaluation mode."""
    torch.manual_seed(0)
    blocks = [
        build_block(
            layer_of("l2ru"),
            "relu",
            D,
            norm=norm_of(norm, **({"eps": 0.5} if norm != "none" else {})),
            norm_position=position,
            bounded=gamma is not None,
        )
        for _ in range(2)
    ]
    final_norm = norm_of(final, **({"eps": 0.5} if final != "none" else {}))
    return (
        build_model(
            blocks,
            inputs=2,
            outputs=3,
            d_model=D,
            pooling=Pooling.unit,
            gamma=gamma,
            final_norm=final_norm,
        )
        .double()
        .eval()
    )


POSITIONS = list(itertools.product(NormPosition, ["none", "rms", "batch"], ["none", "rms"]))


@pytest.mark.parametrize(("position", "norm", "final"), POSITIONS)
def test_the_bound_of_a_network_holds_and_gamma_is_kept(position, norm, final):
    for gamma in (None, 2.0):
        model = with_norms(position, norm, final, gamma)
        bound = model.bound([layer.declared_gain() for layer in model.layers], 11)
        assert bound.finite
        assert gamma is None or bound.value <= gamma * (1 + 1e-9)
        u = signal(20, 11) * torch.logspace(-3, 1, 20, dtype=torch.float64)[:, None, None]
        change = 1e-3 * torch.randn_like(u)
        growth = (model(u + change) - model(u)).norm(dim=-1) / change.flatten(1).norm(dim=-1)
        assert growth.max() <= bound.value


@pytest.mark.parametrize("position", NormPosition)
def test_layer_norm_anywhere_is_refused_with_a_gamma(position):
    for norm, final in (("layer", "none"), ("none", "layer")):
        with pytest.raises(UsageError, match="LayerNorm divides"):
            with_norms(position, norm, final, gamma=1.0)


@pytest.mark.parametrize("name", registry.norms.names())
@pytest.mark.parametrize("position", NormPosition)
def test_a_stream_is_the_whole_signal(name, position):
    model = network("s4d", norm=norm_of(name), norm_position=position)
    model.final_norm = norm_of(name).eval()
    u, state, found = signal(2, 12), None, []
    for chunk in u.split(5, 1):
        y, state = model.stream(chunk, state)
        found.append(y)
    torch.testing.assert_close(torch.cat(found, 1), model(u), **EXACT)
    torch.testing.assert_close(freeze(model)(u), model(u), **EXACT)


def test_ranks_cannot_share_a_sequence_with_batch_norm():
    model = network("s4d", norm="batch")
    refused = pytest.raises(UsageError, match="batch normalisation cannot share")
    with refused, model.sharing(Segments()):
        pass


# --- configs --------------------------------------------------------------------------------------

#: Fingerprints of configs before norms were registered, with ``norm`` as a plain option.
BEFORE = {"none": "df1c3de42702", "layer": "c12352f2aa5e"}


@pytest.mark.parametrize("name", BEFORE)
def test_earlier_configs_keep_their_fingerprint(name):
    config = {"task": {"name": "digits"}, "model": {"norm": name, "discretizer": "zoh"}}
    assert fingerprint(resolve(config)) == BEFORE[name]
    longer = {"model": {"norm": {"name": name}, "final_norm": None, "norm_position": "pre"}}
    assert (
        fingerprint(resolve(config | {"model": config["model"] | longer["model"]}))
        == (BEFORE[name])
    )


def test_a_new_option_has_a_fingerprint_of_its_own():
    configs = [
        {"norm": "layer"},
        {"norm": {"name": "layer", "eps": 1e-6}},
        {"norm": "layer", "norm_position": "post"},
        {"norm": "layer", "final_norm": "layer"},
        {"norm": "layer", "final_norm": {"name": "layer", "eps": 1e-6}},
    ]
    found = [fingerprint(resolve({"model": {"discretizer": "zoh"} | c})) for c in configs]
    assert len(set(found)) == len(configs)
