"""Discretizers against scipy and against what theory says of their gains."""

import math

import pytest
import scipy.integrate
import scipy.signal
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ssmbench import registry
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.discretizers.exact import phi_1
from ssmbench.systems import ContinuousDense, ContinuousDiagonal

SCIPY_NAMES = {"zoh": "zoh", "tustin": "bilinear", "forward_euler": "euler"}


def random_dense(seed, n=4, m=2, p=3):
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(1, *shape, dtype=torch.float64, generator=g)

    dt = torch.tensor([0.2], dtype=torch.float64)
    return ContinuousDense(A=normal(n, n), B=normal(n, m), C=normal(p, n), D=normal(p, m), dt=dt)


def resonator(w0=1.0, sigma=0.02, h=1.0):
    one = torch.ones(1, 1, 1, dtype=torch.complex128)
    lam = torch.tensor([[complex(-sigma, w0)]], dtype=torch.complex128)
    dt = torch.tensor([h], dtype=torch.float64)
    return ContinuousDiagonal(lam=lam, B=one, C=one, D=0 * one.real, dt=dt, conjugate=True)


@pytest.mark.parametrize("name", SCIPY_NAMES)
@pytest.mark.parametrize("seed", range(5))
def test_matrices_are_those_of_scipy(name, seed):
    system = random_dense(seed)
    matrices = [t[0].numpy() for t in (system.A, system.B, system.C, system.D)]
    expected = scipy.signal.cont2discrete(matrices, system.dt.item(), SCIPY_NAMES[name])
    found = registry.discretizers.get(name).build()(system)
    for ours, theirs in zip((found.A, found.B, found.C, found.D), expected, strict=False):
        torch.testing.assert_close(ours[0], torch.from_numpy(theirs), rtol=1e-11, atol=1e-12)


@given(
    st.floats(0.05, 2.5), st.floats(-3, 0), st.floats(-2, 1), st.complex_numbers(max_magnitude=3)
)
@settings(max_examples=30, deadline=None)
@example(1.0, 0.0, 1.0, 5e-324 + 0j)  # D overflows in units of the path through the state
def test_tustin_preserves_the_norm_at_any_step(w0, log_sigma, log_h, residue):
    system = resonator(w0, 10**log_sigma, 10**log_h).map(lambda t: t)
    system = ContinuousDiagonal(
        lam=system.lam,
        B=system.B,
        C=system.C * residue,
        D=system.D + 0.5,
        dt=system.dt,
        conjugate=True,
    )
    discrete = registry.discretizers.get("tustin").build()(system)
    assert hinf_norm(discrete).norm.item() == pytest.approx(hinf_norm(system).norm.item(), rel=1e-8)


@pytest.mark.parametrize(("h", "inflation"), [(0.1, 1.0012), (1.0, 1.118), (10.0, 5.10)])
def test_s4s_bilinear_inflates_a_resonance_as_numerics_says(h, inflation):
    """|G(e^{i theta})| = |G_c(i Omega)| / cos(theta/2), Omega = (2/h) tan(theta/2)."""
    system = resonator(h=h, sigma=1e-5)
    discrete = registry.discretizers.get("bilinear").build()(system)
    ratio = hinf_norm(discrete).norm.item() / hinf_norm(system).norm.item()
    assert ratio == pytest.approx(inflation, rel=1e-3)
    theta = 2 * math.atan(h / 2)
    assert ratio == pytest.approx(1 / math.cos(theta / 2), rel=1e-4)


def test_zero_order_hold_is_exact_for_a_held_input():
    system, h = random_dense(0), 0.2
    discrete = registry.discretizers.get("zoh").build()(system)
    u = torch.tensor([[1.0, -2.0]], dtype=torch.float64).T
    A, B = system.A[0].numpy(), (system.B[0] @ u).numpy()[:, 0]
    sol = scipy.integrate.solve_ivp(
        lambda _, x: A @ x + B, (0, h), torch.zeros(4).numpy(), rtol=1e-11, atol=1e-13
    )
    torch.testing.assert_close(
        discrete.B[0] @ u, torch.from_numpy(sol.y[:, -1:].copy()), rtol=1e-8, atol=1e-10
    )


def test_phi_1_has_no_gap_between_series_and_quotient():
    z = torch.cat([torch.logspace(-12, 1, 400), -torch.logspace(-12, 1, 400)]).double()
    torch.testing.assert_close(phi_1(z), torch.expm1(z) / z, rtol=1e-14, atol=0)
    assert phi_1(torch.zeros(1, dtype=torch.float64)).item() == 1.0


def test_phi_1_gradient_is_right_and_finite_at_zero():
    z = torch.tensor([0.0, 1e-8, 0.3, 0.6, -4.0], dtype=torch.complex128, requires_grad=True)
    assert torch.autograd.gradcheck(phi_1, z)


def test_integrators_of_dense_systems_are_exact():
    zero = torch.zeros(1, 2, 2, dtype=torch.float64)
    one = torch.ones(1, 2, 1, dtype=torch.float64)
    dt = torch.tensor([0.5], dtype=torch.float64)
    system = ContinuousDense(A=zero, B=one, C=one.transpose(1, 2), D=zero[:, :1, :1], dt=dt)
    for entry in registry.discretizers:
        if not entry.factory.samples(ContinuousDiagonal):
            continue
        discrete = entry.build()(system)
        torch.testing.assert_close(discrete.A[0], torch.eye(2, dtype=torch.float64))
        torch.testing.assert_close(discrete.B, 0.5 * one)


@pytest.mark.parametrize("method", ["tustin", "zoh", "bilinear"])
@pytest.mark.parametrize("gap", [1e-3, 1e-5, 1e-7])
def test_single_precision_keeps_the_gain_of_slow_modes(method, gap):
    one = torch.ones(1, 1, 1)
    for lam in (torch.tensor([[-gap]]), torch.tensor([[complex(-gap, 0.7)]])):
        system = ContinuousDiagonal(
            lam=lam, B=gap * one, C=one, D=0 * one, dt=torch.ones(1), conjugate=lam.is_complex()
        )
        sampled = registry.discretizers.get(method).build()(system)
        assert sampled.lam.dtype == lam.dtype
        assert sampled.is_stable()
        exact = registry.discretizers.get(method).build()(system.double())
        gain, wanted = (hinf_norm(s).norm.item() for s in (sampled, exact))
        assert gain == pytest.approx(wanted, rel=1e-5)


def test_the_rounding_of_poles_is_not_seen_by_gradients():
    lam = torch.tensor([[-0.1 + 0.7j]], requires_grad=True)
    ones = torch.ones(1, 1, 1)
    gradients = []
    for wide in (False, True):
        system = ContinuousDiagonal(
            lam=lam, B=ones, C=ones, D=0 * ones, dt=torch.ones(1), conjugate=True
        )
        sampled = registry.discretizers.get("zoh").build()(system.double() if wide else system)
        energy = sampled.lam.abs().square().sum() + sampled.B.abs().square().sum()
        gradients.append(torch.autograd.grad(energy, lam)[0])
    assert torch.allclose(*gradients, rtol=1e-6)


@pytest.mark.parametrize("method", ["tustin", "zoh", "bilinear", "gauss2"])
def test_an_undamped_mode_keeps_its_infinite_gain_in_single_precision(method):
    frequencies = torch.linspace(0.01, 3.0, 40)
    one = torch.ones(1, 40, 1)
    system = ContinuousDiagonal(
        lam=torch.complex(torch.zeros(1, 40), frequencies[None]),
        B=one,
        C=one.mT,
        D=torch.zeros(1, 1, 1),
        dt=torch.ones(1),
        conjugate=True,
    )
    sampled = registry.discretizers.get(method).build()(system)
    assert sampled.lam.dtype == torch.complex64
    assert (sampled.lam.to(torch.complex128).abs() >= 1).all()
    assert (sampled.lam.abs() - 1).max() < 2e-7


def test_double_precision_is_kept_wherever_it_stands():
    lam, one = torch.tensor([[-0.1 + 0.7j]]), torch.ones(1, 1, 1)
    parts = {"lam": lam, "B": one, "C": one, "D": 0 * one + 0j}
    method = registry.discretizers.get("zoh").build()
    for name, part in parts.items():
        wide = part.to(torch.complex128 if part.is_complex() else torch.float64)
        system = ContinuousDiagonal(**(parts | {name: wide}), dt=torch.ones(1))
        assert method(system).lam.dtype == torch.complex128
    assert method(ContinuousDiagonal(**parts, dt=torch.ones(1))).lam.dtype == torch.complex64
