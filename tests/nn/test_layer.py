"""The SSM layer: what is scanned is what is verified, and what does not fit is refused."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from ssmbench import registry
from ssmbench.errors import UsageError
from ssmbench.nn.pairing import check_pairing
from ssmbench.parametrizations.base import Parametrization
from ssmbench.parametrizations.l2ru import L2RU
from ssmbench.parametrizations.s4d import S4D
from ssmbench.systems import (
    ContinuousDiagonal,
    ContinuousOscillator,
    ContinuousSystem,
    DiscreteSystem,
    TimeVaryingSystem,
)
from tests.builders import build_layer, build_scan

CASES = [("s4d", "zoh"), ("unconstrained_dense", "tustin"), ("l2ru", None)]
layer_of = partial(build_layer, seed=0)


@pytest.mark.parametrize(("name", "discretizer"), CASES)
def test_output_is_that_of_the_system_it_shows(name, discretizer):
    """By its definition, one step at a time, in double precision."""
    layer, u = layer_of(name, discretizer), torch.randn(2, 50, 4)
    system = layer.system()
    assert isinstance(system, DiscreteSystem)
    y, _ = build_scan("reference")(system, u.unflatten(-1, (system.heads, system.inputs)))
    found = layer(u)
    assert found.shape == u.shape
    assert found.dtype == u.dtype
    assert torch.allclose(found, y.flatten(-2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "discretizer"), CASES)
def test_linear_causal_and_time_invariant(name, discretizer):
    layer = layer_of(name, discretizer).double()
    u, v = torch.randn(2, 1, 30, 4, dtype=torch.float64)
    assert torch.allclose(layer(2 * u - 3 * v), 2 * layer(u) - 3 * layer(v), atol=1e-9)
    later = torch.nn.functional.pad(u, (0, 0, 5, 0))[:, :30]
    assert torch.allclose(layer(later)[:, 5:], layer(u)[:, :25], atol=1e-9)
    assert torch.allclose(layer(later)[:, :5], torch.zeros(1, 5, 4, dtype=torch.float64))


@pytest.mark.parametrize(("name", "discretizer"), CASES)
def test_gradients_reach_every_parameter(name, discretizer):
    layer = layer_of(name, discretizer)
    layer(torch.randn(2, 20, 4)).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in layer.parameters())


@pytest.mark.parametrize(("name", "discretizer"), CASES)
def test_autocast_leaves_the_layer_in_its_own_precision(name, discretizer):
    """Half precision would move the poles away from those that are verified."""
    layer = layer_of(name, discretizer)
    u = torch.randn(2, 40, 4).bfloat16()
    expected = layer(u.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(u), expected)
        assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.bfloat16
    half_input = layer(u)
    assert half_input.dtype == torch.float32
    assert torch.equal(half_input, expected)


@pytest.mark.parametrize(("name", "discretizer"), CASES)
def test_double_precision_is_kept(name, discretizer):
    layer = layer_of(name, discretizer)
    u = torch.randn(2, 40, 4)
    assert layer.double()(u.double()).dtype == torch.float64
    assert layer(u).dtype == torch.float64


# --- refusals -------------------------------------------------------------------------------------


def test_discretizer_for_a_discrete_system_is_refused_with_the_reason():
    with pytest.raises(UsageError) as caught:
        layer_of("l2ru", "zoh")
    sentence = str(caught.value)
    assert sentence.startswith("L2RU takes no discretizer: ")
    assert L2RU.no_discretizer_reason in sentence
    assert "nothing left to discretize" in sentence
    assert "model.discretizer=null" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("name", ["s4d", "unconstrained_dense", "unconstrained_diagonal"])
def test_continuous_system_without_discretizer_is_refused(name):
    with pytest.raises(
        UsageError, match="continuous-time system and needs a discretizer"
    ) as caught:
        layer_of(name, None)
    assert "model.discretizer" in str(caught.value)


def refused(parametrization, discretizer):
    try:
        check_pairing(parametrization, discretizer)
    except UsageError:
        return True
    return False


def stable(system):
    """At every step, where it is time-varying."""
    return (system.bank() if isinstance(system, TimeVaryingSystem) else system).is_stable()


@pytest.mark.parametrize("entry", registry.parametrizations.entries(), ids=lambda e: e.name)
def test_every_pair_of_a_parametrization_and_a_discretizer_trains_or_is_refused(entry):
    kind = entry.factory
    assert refused(kind, None) == (kind.is_continuous())
    for discretizer in registry.discretizers:
        integrates = discretizer.factory.accepts
        fits = kind.is_continuous() and (
            integrates is not ContinuousOscillator or kind.system_type is ContinuousOscillator
        )
        assert refused(kind, discretizer.factory) == (not fits)
        if fits:
            layer = layer_of(entry.name, discretizer.name)
            u = torch.randn(1, 8, 4)
            y = layer(u)
            assert y.dtype == torch.float32
            y.square().sum().backward()
            finite = all(torch.isfinite(p.grad).all() for p in layer.parameters())
            # An explicit method far outside its region overflows: a result, and reported as one.
            assert finite or not stable(layer.system_for(u))


def test_a_method_for_oscillators_is_refused_with_the_reason():
    with pytest.raises(UsageError) as caught:
        layer_of("s4d", "symplectic_euler")
    sentence = str(caught.value)
    assert sentence.startswith(
        "SymplecticEuler discretizes only oscillators q'' = -a q - g q' + B u"
    )
    assert "S4D gives a ContinuousDiagonal" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("entry", registry.discretizers.entries(), ids=lambda e: e.name)
def test_every_discretizer_makes_a_layer(entry):
    layer = layer_of("s4d" if entry.factory.samples(ContinuousDiagonal) else "linoss", entry.name)
    assert isinstance(layer.parametrization(), ContinuousSystem)
    assert layer(torch.randn(1, 8, 4)).shape == (1, 8, 4)


def test_time_domain_is_a_fact_of_the_class():
    assert S4D.is_continuous()
    assert not L2RU.is_continuous()


def test_a_parametrization_without_a_system_type_is_named_with_its_place():
    class Undeclared(Parametrization):
        def forward(self):
            raise AssertionError

    for kind in (Undeclared, type("Wrong", (Undeclared,), {"system_type": "ContinuousDiagonal"})):
        with pytest.raises(UsageError, match="system_type must be the type of system"):
            check_pairing(kind, None)
    with pytest.raises(UsageError, match=r"Undeclared \(.*test_layer.py:\d+\)"):
        check_pairing(Undeclared, None)
