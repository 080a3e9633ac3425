"""Poles next to the unit circle: only a loss of exactly zero is undamped, and bounds hold on."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench import registry
from ssmbench.analysis.certificate import TOLERANCE
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.discretizers.rounding import loss_per_step, placed
from ssmbench.systems import ContinuousDense, ContinuousDiagonal
from ssmbench.testing import randomise
from tests.builders import build_layer

registry.discover_plugins()
METHODS = [e.name for e in registry.discretizers if e.factory.samples(ContinuousDiagonal)]
A_STABLE = [n for n in METHODS if registry.discretizers.get(n).build().facts.a_stable]
#: Continuous and stable for all parameters; s4 is dense, and its poles are not rounded one by one.
STABLE = [
    e.name
    for e in registry.parametrizations
    if e.factory.stable_by_construction
    and e.factory.is_continuous()
    and not e.factory.is_time_varying()
    and not isinstance(e.build(d_model=2)(), ContinuousDense)
]


def sampled(lam, method="zoh", B=1.0, dtype=torch.float32):
    """One mode with C = 1, D = 0 and a step of 1."""
    lam = torch.tensor([[lam]]).to(dtype.to_complex() if isinstance(lam, complex) else dtype)
    one = torch.ones(1, 1, 1, dtype=dtype)
    system = ContinuousDiagonal(
        lam=lam,
        B=B * one,
        C=one,
        D=0 * one,
        dt=torch.ones(1, dtype=dtype),
        conjugate=lam.is_complex(),
    )
    return registry.discretizers.get(method).build()(system)


def keeps_the_axis(method):
    """Whether undamped modes stay undamped."""
    z = 1j * torch.linspace(0.1, 3.0, 30, dtype=torch.float64)
    R = registry.discretizers.get(method).build().stability_function(z)
    return bool(((R.abs() - 1).abs() < 1e-12).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", A_STABLE)
@pytest.mark.parametrize("frequency", [0.0, 1e-12, 1e-3, 0.7, 3.0])
def test_a_slow_mode_is_stable_and_an_undamped_one_is_not(method, frequency, dtype):
    for rate in (1e-1, 1e-6, 1e-9, 1e-13, 1e-17, 1e-25, 1e-38):
        lam = complex(-rate, frequency) if frequency else -rate
        assert sampled(lam, method, dtype=dtype).is_stable(), rate
    if frequency == 0 or keeps_the_axis(method):
        undamped = complex(0, frequency) if frequency else 0.0
        assert not sampled(undamped, method, dtype=dtype).is_stable()


@pytest.mark.parametrize("gap", [1e-7, 1e-10, 1e-20])
def test_a_pole_that_float32_cannot_hold_keeps_its_response_and_never_gains(gap):
    """Closed form: x[k] = (1 - e^(-gap k)) for a unit step into x' = -gap x + gap u."""
    system = sampled(-gap, B=gap)
    y, _ = registry.scans.get("reference").build()(system, torch.ones(1, 2000, 1, 1), None)
    wanted = -torch.expm1(-gap * torch.arange(2000, dtype=torch.float64))
    held = gap > 3e-8  # else the pole is one or two roundings further inside
    torch.testing.assert_close(y[0, :, 0, 0].double(), wanted, rtol=0.3 if held else 2e-4, atol=0)
    assert hinf_norm(system.double()).norm.item() <= 1 + 1e-6


def exact_loss(name, z):
    """1 - |R(z)|^2 to 60 digits."""
    with mpmath.workdps(60):
        z = mpmath.mpc(z)
        if name == "zoh":
            R = mpmath.exp(z)
        elif name == "tustin":
            R = (1 + z / 2) / (1 - z / 2)
        elif name == "gauss2":
            R = (1 + z / 2 + z**2 / 12) / (1 - z / 2 + z**2 / 12)
        else:
            R = 1 / (1 - z)  # backward Euler
        return float(1 - (mpmath.re(R) ** 2 + mpmath.im(R) ** 2))


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(["zoh", "tustin", "gauss2", "backward_euler"]),
    log_rate=st.floats(-40, 1),
    log_frequency=st.none() | st.floats(-12, 1),
)
def test_the_loss_of_a_step_is_that_of_sixty_digits(name, log_rate, log_frequency):
    z = complex(-(10**log_rate), 0 if log_frequency is None else 10**log_frequency)
    wanted = exact_loss(name, z)
    point = torch.tensor([[z]], dtype=torch.complex128)
    w = registry.discretizers.get(name).build().increment(point)
    found = loss_per_step(w, point).item()
    assert math.copysign(1, found) == math.copysign(1, wanted)
    assert found == pytest.approx(wanted, rel=1e-9, abs=1e-14 * abs(w.item()) ** 2)


@settings(max_examples=100, deadline=None)
@given(
    angle=st.floats(0, 2 * math.pi),
    log_loss=st.none() | st.floats(-40, -3),
    side=st.sampled_from([1, -1]),
)
def test_rounding_moves_no_pole_across_the_circle(angle, log_loss, side):
    loss = 0.0 if log_loss is None else side * 10**log_loss
    lam = torch.polar(torch.tensor([[1 - loss / 2]]).double(), torch.tensor([[angle]]).double())
    found = placed(lam, torch.tensor([[loss]]).double(), torch.float32)
    with mpmath.workdps(60):
        modulus = abs(mpmath.mpc(found.item()))
        assert (modulus < 1) == (loss > 0)
    assert torch.equal(found.to(torch.complex64).to(found.dtype), found)
    assert (found - lam).abs().item() < 2e-7


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(STABLE),
    method=st.sampled_from(A_STABLE),
    log_rate=st.floats(-40, -1),
    scale=st.sampled_from([None, 0.1, 1.0, 3.0]),
    wide=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_stability_and_declared_gain_hold_at_every_rate(name, method, log_rate, scale, wide, seed):
    torch.manual_seed(seed)
    module = registry.parametrizations.get(name).build(d_model=3)
    if scale is not None:
        randomise(module, scale)
    module = module.double() if wide else module
    layer = build_layer(module, method, "reference")
    layer.rate = 10**log_rate
    system = layer.system().detach()
    assert system.is_stable()
    declared = layer.declared_gain()
    if declared is not None:
        assert hinf_norm(system.double()).norm.max() <= declared * (1 + TOLERANCE)


@pytest.mark.parametrize("log_tau", [17.0, 35.0, 80.0])
def test_slow_leaky_integrators_keep_what_they_declare(log_tau):
    module = registry.parametrizations.get("leaky_integrators").build(d_model=2)
    with torch.no_grad():
        module.log_tau.fill_(log_tau)
        module.weights.fill_(100.0)
    system = registry.discretizers.get("tustin").build()(module().detach())
    assert hinf_norm(system.double()).norm.max() <= module.declared_gain() * (1 + TOLERANCE)
