"""Matrix functions that several rooms share, against NumPy's and PyTorch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench.linalg.lyapunov import gramian_factor, lyapunov, stein
from ssmbench.linalg.powers import matrix_power_table, power, power_table
from ssmbench.linalg.precision import EPS, double_dtype, straight_through, to_single
from ssmbench.linalg.singular_values import (
    sigma_max,
    sigma_max_by_gram,
    sigma_max_of_arrays,
    spectral_norm,
)


@pytest.mark.parametrize("dim", [0, 1, -1])
@settings(deadline=None)
@given(count=st.integers(1, 40))
def test_powers_along_any_dimension(dim, count):
    base = torch.tensor([[0.5, 0.0, -0.9]], dtype=torch.float64)
    table = power_table(base, count, dim=dim).movedim(dim, 0)
    assert table.shape == (count, 1, 3)
    for k in range(count):
        torch.testing.assert_close(table[k], base**k)
        torch.testing.assert_close(power(base, k), base**k)


def test_powers_of_zero_have_exact_values_and_gradients():
    zero = torch.zeros(2, dtype=torch.complex64, requires_grad=True)
    table = power_table(zero, 5)
    assert torch.equal(table[0], torch.ones(2, dtype=torch.complex64))
    assert not table[1:].any()
    (gradient,) = torch.autograd.grad(table.real.sum(), zero)
    assert torch.equal(gradient, torch.ones_like(zero))  # of the first power alone


def test_powers_of_matrices():
    A = torch.randn(2, 3, 3, dtype=torch.float64)
    table = matrix_power_table(A, 7)
    for k in range(7):
        torch.testing.assert_close(table[k], torch.linalg.matrix_power(A, k))


@pytest.mark.parametrize("shape", [(4, 3, 2), (4, 2, 3), (4, 1, 3), (4, 3, 1)])
@pytest.mark.parametrize("complex_", [False, True])
def test_largest_singular_values_agree(shape, complex_):
    G = torch.randn(shape, dtype=torch.complex128 if complex_ else torch.float64)
    exact = torch.linalg.svdvals(G)[..., 0]
    torch.testing.assert_close(sigma_max(G), exact)
    torch.testing.assert_close(sigma_max_by_gram(G), exact)
    np.testing.assert_allclose(sigma_max_of_arrays(G.numpy()), exact, rtol=1e-12)


def test_one_can_divide_by_the_spectral_norm_of_zero():
    assert spectral_norm(torch.zeros(2, 3)) == pytest.approx(1e-12)


def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other():
    x = torch.tensor([0.3, 1.7], requires_grad=True)
    y = straight_through(x.square(), torch.tensor([0.0, 3.0]))
    torch.testing.assert_close(y, torch.tensor([0.0, 3.0]))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, 2 * x)


def test_the_unit_roundoff_is_half_a_unit_in_the_last_place():
    assert torch.finfo(torch.float64).eps / 2 == EPS
    assert double_dtype(torch.zeros(1), torch.zeros(1, dtype=torch.cfloat)) == torch.complex128
    assert to_single(torch.zeros(1, dtype=torch.cdouble)).dtype == torch.complex64


@pytest.mark.parametrize("discrete", [True, False])
def test_gramians_solve_their_equations(discrete):
    torch.manual_seed(0)
    A = torch.randn(2, 4, 4, dtype=torch.float64)
    A = A / 4 if discrete else A - 4 * torch.eye(4)
    B = torch.randn(2, 4, 2, dtype=torch.float64)
    Q = B @ B.mT
    X = stein(A, Q) if discrete else lyapunov(A, Q)
    left = A @ X @ A.mT - X if discrete else A @ X + X @ A.mT
    torch.testing.assert_close(left, -Q)
    L = gramian_factor(A, B, discrete=discrete)
    torch.testing.assert_close(L @ L.mT, X)
