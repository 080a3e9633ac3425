"""Discretizers from tableaux: against the stages solved one by one, and against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench import registry
from ssmbench.discretizers.chebyshev import Rkc1Config, Rkc2Config
from ssmbench.discretizers.runge_kutta import Hold, RungeKutta
from ssmbench.errors import UsageError
from ssmbench.systems import ContinuousDense, ContinuousDiagonal

METHODS = {e.name: e for e in registry.discretizers if issubclass(e.factory, RungeKutta)}
OTHERS = ["zoh", "foh", "tustin"]


def built(name: str, **options):
    entry = registry.discretizers.get(name)
    return entry.build(entry.config(**options))


def dense(seed: int = 0, n: int = 4, m: int = 2, p: int = 3, h: float = 0.3) -> ContinuousDense:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(1, *shape, dtype=torch.float64, generator=g)

    dt = torch.tensor([h], dtype=torch.float64)
    return ContinuousDense(A=normal(n, n), B=normal(n, m), C=normal(p, n), D=normal(p, m), dt=dt)


def diagonal(dtype=torch.complex128, conjugate: bool = True, seed: int = 0) -> ContinuousDiagonal:
    g = torch.Generator().manual_seed(seed)
    real = dtype.to_real()

    def normal(*shape):
        return torch.randn(*shape, dtype=dtype, generator=g)

    lam = torch.complex(-torch.rand(2, 3, generator=g), torch.randn(2, 3, generator=g)).to(dtype)
    dt = torch.tensor([0.1, 0.5], dtype=real)
    D = torch.randn(2, 2, 2, dtype=real, generator=g)
    return ContinuousDiagonal(
        lam=lam, B=normal(2, 3, 2), C=normal(2, 2, 3), D=D, dt=dt, conjugate=conjugate
    )


def step_by_stages(tableau, system, x, u0, u1):
    """One step of the method, its stages solved as one linear system, in NumPy.

    Stage i sees the input ``(1 - c_i) u0 + c_i u1``.
    """
    A, B = system.A[0].numpy(), system.B[0].numpy()
    h, s, n = system.dt.item(), tableau.stages, len(x)
    u = np.stack([(1 - c) * u0 + c * u1 for c in tableau.c])
    right = np.tile(x @ A.T, (s, 1)) + u @ B.T
    slopes = np.linalg.solve(np.eye(s * n) - h * np.kron(tableau.T, A), right.ravel())
    return x + h * tableau.b @ slopes.reshape(s, n)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("hold", Hold)
def test_a_step_is_that_of_the_stages(name, hold):
    """The causal form is unwound: its state is x - B1 u."""
    method, system = built(name, hold=hold), dense()
    found = method(system)
    rng = np.random.default_rng(0)
    x, u0, u1 = rng.normal(size=4), rng.normal(size=2), rng.normal(size=2)
    if hold is Hold.zero:
        expected = step_by_stages(method.tableau, system, x, u0, u0)
        step = found.A[0].numpy() @ x + found.B[0].numpy() @ u0
    else:
        expected = step_by_stages(method.tableau, system, x, u0, u1)
        zero = np.zeros(2)
        columns = [step_by_stages(method.tableau, system, 0 * x, zero, e) for e in np.eye(2)]
        B1 = np.stack(columns, 1)
        step = found.A[0].numpy() @ (x - B1 @ u0) + found.B[0].numpy() @ u0 + B1 @ u1
        direct = system.D[0].numpy() + system.C[0].numpy() @ B1
        np.testing.assert_allclose(found.D[0].numpy(), direct, rtol=1e-11)
    np.testing.assert_allclose(step, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", [*METHODS, *OTHERS])
@pytest.mark.parametrize("conjugate", [True, False])
def test_diagonal_and_dense_agree_with_either_hold(name, conjugate):
    system = diagonal(conjugate=conjugate)
    omega = torch.linspace(-3, 3, 9, dtype=torch.float64)
    for options in ({"hold": Hold.zero}, {"hold": Hold.first}) if name in METHODS else ({},):
        method = built(name, **options)
        found, expected = method(system), method(system.to_dense())
        torch.testing.assert_close(
            found.frequency_response(omega),
            expected.frequency_response(omega),
            rtol=1e-9,
            atol=1e-9,
        )


@pytest.mark.parametrize("name", [*METHODS, *OTHERS])
def test_single_precision_stays_single_and_close(name):
    method, system = built(name), diagonal(torch.complex64)
    found, expected = method(system), method(system.double())
    for key, tensor in found.tensors().items():
        assert tensor.dtype == getattr(system, "lam" if key == "lam" else key).dtype
        torch.testing.assert_close(tensor, getattr(expected, key).to(tensor), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [*METHODS, *OTHERS])
def test_differentiable_in_poles_inputs_and_step(name):
    options = {"hold": Hold.first} if name in METHODS else {}
    method, system = built(name, **options), diagonal()

    def matrices(lam, B, dt):
        moved = ContinuousDiagonal(lam=lam, B=B, C=system.C, D=system.D, dt=dt, conjugate=True)
        found = method(moved)
        return found.lam, found.B, found.D

    leaves = [t.clone().requires_grad_() for t in (system.lam, system.B, system.dt)]
    assert torch.autograd.gradcheck(matrices, leaves, fast_mode=True)


def test_differentiable_where_dense():
    for name in ("rk4", "sdirk3", "radau2a3", "foh"):
        method, system = built(name), dense(n=2, m=1, p=1)

        def matrices(A, B, dt, method=method, system=system):
            found = method(ContinuousDense(A=A, B=B, C=system.C, D=system.D, dt=dt))
            return found.A, found.B, found.D

        leaves = [t.clone().requires_grad_() for t in (system.A, system.B, system.dt)]
        assert torch.autograd.gradcheck(matrices, leaves, fast_mode=True)


# --- SciPy --------------------------------------------------------------------------------------

SCIPY = {
    "zoh": ("zoh", {}),
    "foh": ("foh", {}),
    "tustin": ("bilinear", {}),
    "forward_euler": ("euler", {}),
    "backward_euler": ("backward_diff", {"hold": Hold.first}),
    "implicit_midpoint": ("bilinear", {"hold": Hold.first}),
    "trapezoid": ("bilinear", {"hold": Hold.first}),
    "gbt": ("gbt", {"alpha": 0.3}),
}


@pytest.mark.parametrize("name", SCIPY)
@pytest.mark.parametrize("seed", range(3))
def test_transfer_functions_are_those_of_scipy(name, seed):
    theirs, options = SCIPY[name]
    system = dense(seed)
    matrices = [t[0].numpy() for t in (system.A, system.B, system.C, system.D)]
    A, B, C, D, _ = scipy.signal.cont2discrete(matrices, 0.3, theirs, alpha=options.get("alpha"))
    found = built(name, **options)(system)
    omega = np.linspace(0, np.pi, 7)
    response = found.frequency_response(torch.from_numpy(omega))[0].numpy()
    for G, w in zip(response, omega, strict=True):
        expected = C @ np.linalg.solve(np.exp(1j * w) * np.eye(4) - A, B.astype(complex)) + D
        np.testing.assert_allclose(G, expected, rtol=1e-9, atol=1e-10)


@given(st.floats(0, 1), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_the_generalised_bilinear_is_scipys_at_any_alpha(alpha, seed):
    system = dense(seed, n=3)
    matrices = [t[0].numpy() for t in (system.A, system.B, system.C, system.D)]
    A, B, _, _, _ = scipy.signal.cont2discrete(matrices, 0.3, "gbt", alpha=alpha)
    found = built("gbt", alpha=alpha, hold=Hold.zero)(system)
    np.testing.assert_allclose(found.A[0].numpy(), A, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found.B[0].numpy(), B, rtol=1e-8, atol=1e-8)


def test_one_implementation_has_three_names():
    factories = {registry.discretizers.get(n).factory for n in ("bilinear", "implicit_midpoint")}
    assert factories == {registry.discretizers.get("gauss1").factory}


# --- options ------------------------------------------------------------------------------------

REFUSED = {
    "gbt": ({"alpha": 1.5}, r"discretizer gbt: alpha: must be in \[0, 1\], got 1.5"),
    "rkc1": ({"stages": 0}, "rkc1: stages must be from 1 to 50, got 0"),
    "rkc2": ({"stages": 1}, "rkc2: stages must be from 2 to 50, got 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_options_out_of_range_are_refused(name):
    options, says = REFUSED[name]
    with pytest.raises(UsageError, match=says):
        built(name, **options)


def test_damping_out_of_range_is_refused():
    for name, config in (("rkc1", Rkc1Config), ("rkc2", Rkc2Config)):
        with pytest.raises(UsageError, match=rf"{name}: damping: must be in \[0, 1\], got -1"):
            registry.discretizers.get(name).build(config(damping=-1.0))


# --- stiffness ----------------------------------------------------------------------------------


def largest_state(name: str, matrix: list[list[float]], h: float, steps: int = 20) -> float:
    one = torch.ones(1, 2, 1, dtype=torch.float64)
    A = torch.tensor([matrix], dtype=torch.float64)
    dt = torch.tensor([h], dtype=torch.float64)
    A_bar = built(name)(ContinuousDense(A=A, B=one, C=one.mT, D=one[:, :1] * 0, dt=dt)).A[0]
    return torch.linalg.matrix_power(A_bar, steps).abs().max().item()


def test_stiffness_separates_explicit_from_implicit():
    """Eigenvalues -1 and -2000 at h = 0.01: RK4 multiplies the fast mode by R(-20) = 5514.33."""
    stiff = [[-2.0, 1.0], [1998.0, -1999.0]]
    z = torch.tensor([-20.0], dtype=torch.complex128)
    assert built("rk4").stability_function(z).real.item() == pytest.approx(5514.3333, rel=1e-6)
    assert largest_state("rk4", stiff, 0.01) > 1e60
    assert largest_state("rk4", stiff, 2.78 / 2000) < 10
    for name in ("implicit_midpoint", "sdirk2", "radau2a3", "gauss2", "lobatto3c3"):
        assert largest_state(name, stiff, 0.01) < 10
