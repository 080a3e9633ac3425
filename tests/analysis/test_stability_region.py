"""Stability regions and the largest stable step, against what is known in closed form."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench import registry
from ssmbench.analysis import stability_region as region
from ssmbench.systems import ContinuousDense, ContinuousDiagonal


def built(name: str):
    return registry.discretizers.get(name).build()


def modes(*poles: complex, dt: float = 1.0) -> ContinuousDiagonal:
    """Copies of one mode each."""
    lam = torch.tensor(poles, dtype=torch.complex128)[:, None]
    one = torch.ones(len(poles), 1, 1, dtype=torch.complex128)
    step = torch.full((len(poles),), dt, dtype=torch.float64)
    return ContinuousDiagonal(lam=lam, B=one, C=one, D=0 * one.real, dt=step, conjugate=True)


# --- stability functions ------------------------------------------------------------------------


def test_order_of_truncated_exponentials():
    for p in range(1, 9):
        R = lambda z, p=p: sum(z**k / math.factorial(k) for k in range(p + 1))  # noqa: E731
        assert region.taylor_order(R) == p
    assert region.taylor_order(torch.exp) == math.inf
    assert region.taylor_order(lambda z: 1 + 1.001 * z) == 0


def test_a_growth_too_slow_to_see_near_zero_still_counts():
    """|R(iy)|^2 = 1 + y^4 / 4: rounds to 1 for y below 1e-4."""
    assert region.stable_interval(lambda z: 1 + z + z**2 / 2, 1j) == 0.0


def test_an_interval_on_which_the_modulus_is_exactly_one_is_kept():
    """Cayley's map up to a frequency, then growth: as leapfrog's up to h omega = 2."""
    R = lambda z: torch.where(z.abs() <= 2, (1 + z / 2) / (1 - z / 2), z)  # noqa: E731
    assert region.stable_interval(R, 1j) == pytest.approx(2.0, rel=1e-9)


def test_a_pole_in_the_left_half_plane_is_no_a_stability():
    assert not region.is_a_stable(lambda z: 1 / (1 + z / 5) / 2)
    assert region.is_a_stable(lambda z: 1 / (1 - z))


# --- the largest stable step --------------------------------------------------------------------


@given(st.lists(st.builds(complex, st.floats(-3, -0.01), st.floats(0.1, 30)), min_size=25))
@settings(max_examples=3, deadline=None)
def test_forward_eulers_largest_step(poles):
    """|1 + h lam| < 1 for h < 2 sigma / |lam|^2; one search serves many poles."""
    found = region.largest_stable_step(built("forward_euler"), modes(*poles))
    expected = [-2 * pole.real / abs(pole) ** 2 for pole in poles]
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["heun", "ssprk33", "rk4", "dopri5", "rkc2"])
def test_real_poles_end_at_the_real_interval(name):
    method = built(name)
    found = region.largest_stable_step(method, modes(-0.5, -20.0))
    expected = method.facts.real_interval / torch.tensor([0.5, 20.0], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=0)


EXPLICIT = ["forward_euler", "heun", "ssprk33", "rk4", "dopri5"]


@pytest.mark.parametrize("name", EXPLICIT)
def test_a_little_less_is_stable_and_a_little_more_is_not(name):
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(20, 5, 5, dtype=torch.float64, generator=generator) * 3
    A = A - (torch.linalg.eigvals(A).real.amax(-1) + 0.5)[:, None, None] * torch.eye(5)
    one = torch.ones(20, 5, 1, dtype=torch.float64)
    dt = torch.ones(20, dtype=torch.float64)
    system = ContinuousDense(A=A, B=one, C=one.mT, D=one[:, :1], dt=dt)
    method = built(name)
    limit = region.largest_stable_step(method, system)
    radius = [
        method(dataclasses.replace(system, dt=limit * factor)).spectral_radius()
        for factor in (1 - 1e-3, 1 + 1e-3)
    ]
    assert (radius[0] < 1).all()
    assert (radius[1] > 1).all()


def test_no_step_is_too_large_for_what_is_a_stable():
    for name in ("zoh", "foh", "tustin", "backward_euler", "radau2a3", "gauss2"):
        assert region.largest_stable_step(built(name), modes(-1 + 5j)).item() == math.inf


def test_an_unstable_system_has_no_stable_step():
    found = region.largest_stable_step(built("rk4"), modes(0.1 + 1j, -0.1 + 1j))
    assert found[0] == 0
    assert found[1] > 2


# --- what is said before training ---------------------------------------------------------------


def test_instability_names_the_worst_copy():
    found = region.instability(built("forward_euler"), modes(-1.0, -1 + 3j, -1 + 1j, dt=0.5))
    assert (found.heads, found.of, found.dt) == (1, 3, 0.5)
    assert found.largest_stable_step == pytest.approx(0.2, rel=1e-6)
    assert found.spectral_radius == pytest.approx(abs(1 + 0.5 * (-1 + 3j)))
    assert found.sentence == (
        "step size 0.5 makes 1 of 3 stable systems unstable (spectral radius 1.58114); "
        "largest stable step 0.2"
    )


def test_no_instability_where_the_method_is_not_to_blame():
    euler = built("forward_euler")
    assert region.instability(euler, modes(-1.0, dt=0.5)) is None
    assert region.instability(euler, modes(0.1 + 1j, dt=0.5)) is None
    assert region.instability(built("zoh"), modes(-1 + 9j, dt=5.0)) is None
