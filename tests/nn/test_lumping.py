"""Networks as lumped ones: the tighter bound holds for every part that has a finite constant."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ssmbench import registry
from ssmbench.analysis.network_bound import NetworkBound, network_bound
from ssmbench.nn.blocks.base import NormPosition, Residual
from ssmbench.nn.encoders.linear import LinearConfig
from ssmbench.nn.freeze import freeze
from ssmbench.nn.lumping import NotLumpedError, lumped_network
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.pooling import Pooling
from ssmbench.spec import Channels
from tests.builders import build_block, build_layer, build_model, build_norm, build_parametrization

STEPS, D_MODEL = 7, 4
NONLINEARITIES = [e.name for e in registry.nonlinearities]
#: Norms with a finite constant in evaluation.
NORMS = ["none", "batch", "rms"]


def network(
    nonlinearity: str,
    *,
    norm: str = "none",
    position: NormPosition = NormPosition.pre,
    residual: Residual = Residual.add,
    pooling: Pooling | None = None,
    reverse: bool = False,
    seed: int = 0,
    **options,
) -> SequenceModel:
    torch.manual_seed(seed)
    blocks = []
    for _ in range(2):
        layers = [build_layer(build_parametrization("lru", D_MODEL, d_state=6, radius=0.9))] * 2
        block = build_block(
            layers[0],
            nonlinearity,
            norm=build_norm(norm, D_MODEL, **({"eps": 1.0} if norm == "rms" else {})),
            norm_position=position,
            residual=residual,
            **({"reverse_layer": layers[1]} if reverse else {}),
        )
        if norm == "batch":
            block.norm.variance.copy_(torch.rand(D_MODEL) + 0.1)
        blocks.append(block)
    model = build_model(blocks, inputs=2, outputs=3, d_model=D_MODEL, pooling=pooling, **options)
    return model.double().eval().requires_grad_(False)


def layer_gains(model: SequenceModel) -> list[float]:
    from ssmbench.analysis.gain import analyse

    bounds = [analyse(layer.system()).hinf_upper_bound for layer in model.layers]
    assert all(b is not None for b in bounds)
    return bounds


def bounded(model: SequenceModel, lengths=(STEPS,)) -> NetworkBound:
    return network_bound(lumped_network(freeze(model), layer_gains(model), 2, lengths), 1e8)


def largest_secant(model: SequenceModel, seed: int, length: int = STEPS) -> float:
    """The largest gain of some random differences, and of the worst directions at some inputs."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    found = 0.0
    for size in (1e-4, 1.0, 30.0):
        u, d = draw(8, length, 2), size * draw(8, length, 2)
        change = (model(u + d) - model(u)).flatten(1).norm(dim=1)
        found = max(found, (change / d.flatten(1).norm(dim=1)).max().item())
    for size in (0.0, 2.0):
        u = size * draw(1, length, 2)
        J = torch.autograd.functional.jacobian(lambda v: model(v).flatten(), u)
        found = max(found, torch.linalg.matrix_norm(J.flatten(1), 2).item())
    return found


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_every_nonlinearity_is_bounded_or_has_a_reason(nonlinearity):
    model = network(nonlinearity)
    product = model.bound(layer_gains(model), STEPS)
    if not product.finite:
        assert model.blocks[0].nonlinearity.shifted(D_MODEL) is None
        return
    found = bounded(model)
    assert found.reason == ""
    assert largest_secant(model, 0) <= found.gain * (1 + 1e-9)
    assert found.gain <= product.value * 1.01


@settings(max_examples=25, deadline=None)
@given(
    nonlinearity=st.sampled_from(["gelu", "relu", "sll", "cayley", "saturated_glu", "identity"]),
    norm=st.sampled_from(NORMS),
    position=st.sampled_from(list(NormPosition)),
    residual=st.sampled_from(list(Residual)),
    pooling=st.sampled_from([None, *Pooling]),
    seed=st.integers(0, 1000),
)
def test_what_is_found_stays_below(nonlinearity, norm, position, residual, pooling, seed):
    model = network(
        nonlinearity, norm=norm, position=position, residual=residual, pooling=pooling, seed=seed
    )
    found = bounded(model)
    assert found.reason == ""
    assert largest_secant(model, seed) <= found.gain * (1 + 1e-9)


@pytest.mark.parametrize("pooling", list(Pooling))
def test_a_bound_holds_for_each_length_of_a_padded_batch(pooling):
    model, lengths = network("gelu", pooling=pooling), (3, 5, 9)
    found = bounded(model, lengths)
    assert found.lengths == lengths
    assert len(found.ellipsoids) == 3
    for length in lengths:
        assert largest_secant(model, 1, length) <= found.gain * (1 + 1e-9)


def test_the_other_parts(monkeypatch):
    """An encoder with tanh, a final norm with a constant, a prescribed gain, two directions."""
    norm = build_norm("rms", D_MODEL, eps=1.0).double()
    model = network("gelu", final_norm=norm)
    config = LinearConfig(activation="tanh")
    model.encoder = registry.encoders.get("linear").factory(
        config, input=Channels(2), length=STEPS, d_model=D_MODEL
    )
    model = model.double().requires_grad_(False)
    assert largest_secant(model, 0) <= bounded(model).gain * (1 + 1e-9)
    both = network("gelu", reverse=True)
    product = both.bound(layer_gains(both), STEPS).value
    assert largest_secant(both, 0) <= bounded(both).gain <= product * 1.01


def test_it_is_far_below_the_product_where_parts_are_large():
    model = network("gelu")
    for block in model.blocks:
        assert isinstance(block.mix, nn.Linear)
        block.mix.weight.mul_(10)
    assert bounded(model).gain < 0.5 * model.bound(layer_gains(model), STEPS).value


def test_slopes_that_are_declared_too_small_are_found_out(monkeypatch):
    """An identity that says that its slopes are at most 0.2."""
    model = network("identity", residual=Residual.none)
    honest = bounded(model).gain
    monkeypatch.setattr(type(model.blocks[0].nonlinearity), "slopes", (0.0, 0.2))
    assert bounded(model).gain < largest_secant(model, 0) <= honest * (1 + 1e-9)


def test_a_decoder_that_is_not_affine_has_a_reason(monkeypatch):
    model = network("gelu")
    monkeypatch.setattr(type(model.decoder), "rows", lambda *_: None)
    with pytest.raises(NotLumpedError, match="PerStep is not affine"):
        bounded(model)


def test_slopes_are_those_of_the_registry():
    """The declared intervals hold on a fine grid, for every map of single numbers."""
    x = torch.cat([torch.linspace(-9, 9, 60_001), torch.tensor([2**0.5, -(2**0.5)])]).double()
    x.requires_grad_()
    for entry, sign in itertools.product(registry.nonlinearities, (1, -1)):
        if entry.factory.slopes is None:
            continue
        low, high = entry.factory.slopes
        (slope,) = torch.autograd.grad(entry.build(d_model=1)(sign * x).sum(), x)
        assert low <= slope.mul(sign).min(), entry.name
        assert slope.mul(sign).max() <= high, entry.name
