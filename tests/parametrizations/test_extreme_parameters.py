"""Variants that declare a gain keep it for parameters of any size, without an exception."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench import registry
from ssmbench.analysis.certificate import TOLERANCE
from ssmbench.discretizers.base import Discretizer
from ssmbench.systems import ContinuousSystem, DiscreteDense

registry.discover_plugins()


def variants():
    """(name, configuration) of all that declare a gain, with what they can learn switched on."""
    for entry in registry.parametrizations:
        if entry.factory.is_time_varying() or entry.build(d_model=3).declared_gain() is None:
            continue
        yield entry.name, None
        if hasattr(entry.config(), "learn_gamma"):
            yield entry.name, entry.config(learn_gamma=True)


VARIANTS = list(variants())


def build(name, config):
    return registry.parametrizations.get(name).build(config, d_model=3)


def tustin() -> Discretizer:
    return registry.discretizers.get("tustin").build()


def largest_response(system):
    """max sigma(G(e^{i w})) over a grid, denser around each pole, by numpy in double."""
    dense = system.double().to_dense()
    largest = 0.0
    for copy in range(dense.heads):
        A, B, C, D = (t[copy].numpy() for t in (dense.A, dense.B, dense.C, dense.D))
        poles = np.linalg.eigvals(A)
        gaps = np.maximum(1 - np.abs(poles), 1e-12)
        near = (np.angle(poles)[:, None] + gaps[:, None] * np.linspace(-4, 4, 17)).ravel()
        for w in np.concatenate([near, np.linspace(0, np.pi, 40)]):
            z = np.exp(1j * w)
            G = D + C @ np.linalg.solve(z * np.eye(len(A)) - A, B)
            largest = max(largest, np.linalg.norm(G, 2))
    return largest


def test_all_declaring_variants_are_here():
    assert {"l2ru", "l2ru_conservative", "contraction", "contraction_block"} <= {
        name for name, _ in VARIANTS
    }
    assert any(config is not None for _, config in VARIANTS)


@settings(max_examples=60, deadline=None)
@given(
    variant=st.sampled_from(VARIANTS),
    sizes=st.lists(st.floats(-30, 30), min_size=10, max_size=10),
    seed=st.integers(0, 10_000),
)
def test_a_declared_gain_holds_for_parameters_of_any_size(variant, sizes, seed):
    torch.manual_seed(seed)
    module = build(*variant)
    with torch.no_grad():
        for size, parameter in zip(sizes, module.parameters(), strict=False):
            parameter.copy_(torch.randn_like(parameter) * 10**size)
        system = module()
        system = tustin()(system) if isinstance(system, ContinuousSystem) else system
    assert system.is_finite()
    assert system.is_stable()
    assert largest_response(system) <= module.declared_gain() * (1 + TOLERANCE)


@pytest.mark.parametrize("value", [1e6, -1e6, 1e30, -1e30, 0.0])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_equal_parameters_of_any_size_are_safe_too(variant, value):
    """Every matrix singular; with ``learn_gamma`` the gain asked for is e^1e6."""
    module = build(*variant)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)
        system = module()
        system = tustin()(system) if isinstance(system, ContinuousSystem) else system
    assert system.is_finite()
    assert math.isfinite(module.declared_gain())
    assert largest_response(system) <= module.declared_gain() * (1 + TOLERANCE)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_gradients_stay_finite_at_parameters_of_1e6(variant):
    torch.manual_seed(0)
    module = build(*variant)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(1e6 * torch.randn_like(parameter))
    sum(t.abs().sum() for t in module().tensors().values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())


@pytest.mark.parametrize("value", [1e3, -1e3, 1e6, -1e6])
@pytest.mark.parametrize("discretizer", ["zoh", "tustin", "backward_euler"])
@pytest.mark.parametrize(
    "name",
    [
        e.name
        for e in registry.parametrizations
        if e.factory.stable_by_construction and not e.factory.is_time_varying()
    ],
)
def test_stable_by_construction_means_any_parameter_value(name, discretizer, value):
    """e^-1e3 is 0 in every precision: a rate or a step of it would be no damping at all."""
    module = build(name, None)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)
        system = module()
        if isinstance(system, ContinuousSystem):
            assert (system.dt > 0).all()
            assert system.is_stable()
            system = registry.discretizers.get(discretizer).build()(system)
    assert system.is_finite()
    dense = isinstance(system, DiscreteDense)  # a matrix rounds as a whole, near the circle too
    assert dense or system.is_stable()
