"""Every measure of a system is a number or infinite, never NaN and never an exception, also where
entries are not finite, products overflow, or there is no state."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from ssmbench import registry
from ssmbench.analysis.gain import analyse, stability
from ssmbench.analysis.h2 import h2_norm
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.analysis.horizon import horizon_gain
from ssmbench.analysis.rounding import rounding_gain
from ssmbench.analysis.upper_bound import hinf_bound, horizon_bound
from ssmbench.systems import (
    ContinuousDense,
    ContinuousDiagonal,
    ContinuousSystem,
    DiscreteDense,
    DiscreteDiagonal,
    DiscreteSystem,
    LinearSystem,
)
from tests.analysis.systems_for_tests import dense, random_matrices

registry.discover_plugins()
HORIZON = 64
#: Enclosures and norms of one system agree to this.
ROUNDING = 1e-9


def parametrizations() -> list[str]:
    return [e.name for e in registry.parametrizations if not e.factory.is_time_varying()]


def system_of(name: str) -> LinearSystem:
    """A small system of a registered parametrization, in double precision."""
    torch.manual_seed(0)
    entry = registry.parametrizations.get(name)
    options = {f.name for f in dataclasses.fields(entry.config)} if entry.config else set()
    config = entry.config(d_state=4) if "d_state" in options else None
    module = entry.build(config, d_model=2).double()
    with torch.no_grad():
        return module().detach()


def stateless() -> dict[str, LinearSystem]:
    """A static gain of every type."""
    matrices = {"B": torch.zeros(2, 0, 3), "C": torch.zeros(2, 2, 0), "D": torch.ones(2, 2, 3)}
    modes = {"lam": torch.zeros(2, 0), **matrices}
    square = {"A": torch.zeros(2, 0, 0), **matrices}
    dt = torch.ones(2)
    return {
        "continuous diagonal": ContinuousDiagonal(dt=dt, **modes),
        "discrete diagonal": DiscreteDiagonal(**modes),
        "continuous dense": ContinuousDense(dt=dt, **square),
        "discrete dense": DiscreteDense(**square),
    }


CHANGES = {
    "as it is": lambda t: t,
    "zero": torch.zeros_like,
    "huge": lambda t: 1e200 * t,
    "at the end of the range": lambda t: 1e308 * t,
    "tiny": lambda t: 1e-310 * t,
    "infinite": lambda t: torch.full_like(t, math.inf),
    "NaN": lambda t: torch.full_like(t, math.nan),
}


def changed(system: LinearSystem) -> dict[str, LinearSystem]:
    """The system with all tensors changed, and with each alone."""
    found = {how: system.map(change) for how, change in CHANGES.items()}
    for name, tensor in system.tensors().items():
        for how in ("zero", "huge", "NaN"):
            found[f"{name} {how}"] = dataclasses.replace(system, **{name: CHANGES[how](tensor)})
    return found


def check(system: LinearSystem, where: str) -> None:
    """No measure raises or is NaN, and bounds are not below what they bound."""
    peak, bound = hinf_norm(system), hinf_bound(system)
    measures = {"norm": peak.norm, "omega": peak.omega, "bound": bound, "H2": h2_norm(system)}
    assert bool((bound >= peak.norm * (1 - ROUNDING)).all()), where
    if isinstance(system, DiscreteSystem):
        gain = horizon_gain(system, HORIZON)
        above = horizon_bound(system, HORIZON)
        assert bool((above >= gain * (1 - ROUNDING)).all()), where
        measures |= {"gain": gain, "horizon": above, "rounding": rounding_gain(system)}
    for name, measure in measures.items():
        assert not bool(measure.isnan().any()), f"{where}: {name}"
    assert not math.isnan(stability(system)["margin"]), where


@pytest.mark.slow
@pytest.mark.parametrize("name", parametrizations())
def test_no_measure_fails_on_systems_of_the_registry(name):
    system = system_of(name)
    zoh = registry.discretizers.get("zoh").build()
    for how, one in changed(system).items():
        check(one, how)
        if isinstance(one, ContinuousSystem):
            check(zoh(one), f"{how}, sampled")


@pytest.mark.parametrize("system", stateless().values(), ids=stateless())
def test_no_measure_fails_on_a_static_gain(system):
    for how, one in changed(system).items():
        check(one, how)
        analyse(one)


@pytest.mark.parametrize("system", stateless().values(), ids=stateless())
def test_a_static_gain_is_that_of_its_feedthrough(system):
    expected = math.sqrt(6)
    assert hinf_norm(system).norm.tolist() == pytest.approx([expected] * 2)
    continuous = isinstance(system, ContinuousSystem)
    assert h2_norm(system).tolist() == pytest.approx([math.inf if continuous else expected] * 2)
    if not continuous:
        assert horizon_gain(system, HORIZON).tolist() == pytest.approx([expected] * 2)


@pytest.mark.parametrize("radius", [1.3, 1.7, 3.0])
@pytest.mark.parametrize("horizon", [300, 1024, 2000])
def test_a_gain_beyond_the_range_is_infinite(radius, horizon):
    """Where Markov parameters, their squares, or sums of them overflow."""
    rng = np.random.default_rng(0)
    for states, inputs, outputs in ((1, 4, 4), (6, 1, 1), (6, 2, 3)):
        matrices = random_matrices(rng, states, inputs, outputs, gap=1 - radius, discrete=True)
        system = dense(*matrices, discrete=True)
        gain, bound = horizon_gain(system, horizon), horizon_bound(system, horizon)
        assert not bool(gain.isnan() | bound.isnan())
        assert bool(bound >= gain * (1 - ROUNDING))
        if horizon * math.log(radius) > math.log(torch.finfo(torch.float64).max):
            assert float(bound) == math.inf


def test_a_conjugate_pair_whose_real_form_overflows_is_analysed():
    """2 Re C leaves the range of float64 though C does not."""
    pair = DiscreteDiagonal(
        lam=torch.tensor([[0.5 + 0.1j]], dtype=torch.complex128),
        B=torch.ones(1, 1, 1, dtype=torch.complex128),
        C=torch.full((1, 1, 1), 1e308, dtype=torch.complex128),
        D=torch.zeros(1, 1, 1, dtype=torch.float64),
        conjugate=True,
    )
    report = analyse(pair)
    assert report.stable
    assert report.hinf_upper_bound == math.inf
