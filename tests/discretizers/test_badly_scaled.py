"""Dense systems, badly scaled or stiff, against 60 digits: a large B or C leaves A_bar alone."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import scipy.linalg
import scipy.signal
import torch

from ssmbench import registry
from ssmbench.discretizers.matrix_phi import matrix_phi
from ssmbench.systems import ContinuousDense, ContinuousDiagonal

METHODS = [e.name for e in registry.discretizers if e.factory.samples(ContinuousDiagonal)]


def dense(A, B, C, dt=0.1, dtype=torch.float64):
    A, B, C = (torch.tensor(x, dtype=dtype)[None] for x in (A, B, C))
    D = torch.zeros(1, C.shape[1], B.shape[2], dtype=dtype)
    return ContinuousDense(A=A, B=B, C=C, D=D, dt=torch.tensor([dt], dtype=dtype))


def discretized(system, method):
    return registry.discretizers.get(method).build()(system)


def exact_held(A, B, h):
    """e^(hA) and the integral of e^(tA) B over a step, to 60 digits."""
    n, m = len(A), len(B[0])
    with mpmath.workdps(60):
        joint = mpmath.zeros(n + m)
        joint[:n, :n], joint[:n, n:] = mpmath.matrix(A) * h, mpmath.matrix(B) * h
        exponential = mpmath.expm(joint, method="taylor")
        whole = np.array(exponential.tolist(), dtype=float)
    return whole[:n, :n], whole[:n, n:]


SYSTEMS = {
    "large B": ([[-1, 0.3], [0, -2]], [[1e16], [1]], [[1e-16, 1]]),
    "stiff": ([[-1e6, 1.0], [0, -1]], [[1.0], [1.0]], [[1.0, 1.0]]),
    "stiff and coupled": ([[-1, 0.3], [1e5, -1e6]], [[1.0], [1.0]], [[1.0, 1.0]]),
    "double integrator": ([[0, 1.0], [0, 0]], [[0.0], [1.0]], [[1.0, 0.0]]),
    "far from balanced": ([[-1, 1e10], [1e-10, -2]], [[1.0], [1e-10]], [[1.0, 1.0]]),
    "slow": ([[-1e-9, 1e-9], [0, -1e-12]], [[1.0], [1.0]], [[1.0, 1.0]]),
}


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_held_input_is_exact_in_every_entry(name, dtype):
    A, B, C = (np.array(x, dtype=float).tolist() for x in SYSTEMS[name])
    system = dense(A, B, C, dtype=dtype)
    # what float32 holds, not what was meant
    A, B = (t[0].double().tolist() for t in (system.A, system.B))
    A_bar, B_bar = exact_held(A, B, system.dt.double().item())
    found = discretized(system, "zoh")
    rtol = 5e-14 if dtype is torch.float64 else 1e-7
    for ours, theirs in ((found.A, A_bar), (found.B, B_bar)):
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours[0].double(), theirs, rtol=rtol, atol=1e-16)


def test_a_large_input_matrix_does_not_make_a_system_unstable():
    """The system of issue 9: radius e^-0.1, whatever B is."""
    found = discretized(dense(*SYSTEMS["large B"]), "zoh")
    assert found.spectral_radius().item() == pytest.approx(np.exp(-0.1), rel=1e-14)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1e-200, 1e-30, 1e4, 1e16, 1e200])
def test_scaling_inputs_and_outputs_leaves_the_dynamics_alone_bit_by_bit(method, size):
    rng = np.random.default_rng(0)
    A, B, C = rng.standard_normal((4, 4)), rng.standard_normal((4, 2)), rng.standard_normal((3, 4))
    plain = discretized(dense(A.tolist(), B.tolist(), C.tolist()), method)
    scaled = discretized(dense(A.tolist(), (size * B).tolist(), (C / size).tolist()), method)
    assert torch.equal(plain.A, scaled.A)
    torch.testing.assert_close(scaled.B / size, plain.B, rtol=1e-13, atol=0)
    torch.testing.assert_close(scaled.C * size, plain.C, rtol=1e-13, atol=0)


@pytest.mark.parametrize(
    ("method", "theirs"), [("zoh", "zoh"), ("foh", "foh"), ("tustin", "bilinear")]
)
def test_a_stiff_matrix_is_as_accurate_as_scipys(method, theirs):
    A, B, C = [[-1e6, 2.0], [0, -1]], [[1.0], [1.0]], [[1.0, 1.0]]
    arrays = [np.array(x) for x in (A, B, C, [[0.0]])]
    expected = scipy.signal.cont2discrete(arrays, 0.1, theirs)[0]
    found = discretized(dense(A, B, C), method).A[0]
    np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize("method", METHODS)
def test_single_precision_of_dense_systems_is_rounded_once(method):
    """|B| = 1e4 cost the joint exponential 5e-5 in float32."""
    rng = np.random.default_rng(1)
    A = (rng.standard_normal((5, 5)) - 3 * np.eye(5)).tolist()
    B, C = (1e4 * rng.standard_normal((5, 2))).tolist(), rng.standard_normal((2, 5)).tolist()
    single = dense(A, B, C, dtype=torch.float32)
    found, exact = discretized(single, method), discretized(single.double(), method)
    for name, tensor in found.tensors().items():
        assert tensor.dtype == torch.float32
        wanted = exact.tensors()[name]
        torch.testing.assert_close(tensor.double(), wanted, rtol=6e-8, atol=0)


def test_one_copy_of_a_bank_does_not_change_anothers_digits():
    A = torch.stack([torch.eye(3) * -0.01, torch.randn(3, 3) * 1e5 - 1e6 * torch.eye(3)]).double()
    one = torch.ones(2, 3, 1, dtype=torch.float64)
    parts = {"B": one, "C": one.mT, "D": one[:, :1], "dt": one[:, 0, 0]}
    bank = ContinuousDense(A=A, **parts)
    together, alone = discretized(bank, "foh"), discretized(bank.head(0), "foh")
    assert all(torch.equal(t[:1], alone.tensors()[k]) for k, t in together.tensors().items())


@pytest.mark.parametrize("method", ["zoh", "foh"])
def test_gradients_of_the_phi_functions(method):
    torch.manual_seed(0)
    B, C = torch.randn(1, 3, 1).double(), torch.randn(1, 1, 3).double()
    D, dt = torch.zeros(1, 1, 1).double(), torch.tensor([0.7]).double()

    def matrices(A):
        system = discretized(ContinuousDense(A=A, B=B, C=C, D=D, dt=dt), method)
        return system.A, system.B, system.D

    A = (3 * torch.randn(1, 3, 3).double()).requires_grad_()
    assert torch.autograd.gradcheck(matrices, A)
    assert torch.autograd.gradgradcheck(matrices, A)


@pytest.mark.parametrize("order", [1, 2])
def test_the_phi_functions_under_transforms_are_those_outside(order):
    torch.manual_seed(0)
    Z = torch.randn(4, 2, 3, 3, dtype=torch.float64)
    mapped = torch.func.vmap(lambda z: tuple(matrix_phi(z, order)))(Z)
    for found, expected in zip(mapped, matrix_phi(Z.flatten(0, 1), order), strict=True):
        torch.testing.assert_close(found.flatten(0, 1), expected, rtol=1e-12, atol=1e-13)


def test_a_large_matrix_stays_finite_or_says_so():
    huge = dense([[-1e300, 0], [0, -1]], [[1.0], [1.0]], [[1.0, 1.0]])
    A = discretized(huge, "zoh").A[0]
    np.testing.assert_allclose(A, scipy.linalg.expm(np.diag([-1e299, -0.1])), atol=1e-16)
    assert not discretized(dense([[1e300]], [[1.0]], [[1.0]]), "zoh").is_finite()
