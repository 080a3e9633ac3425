"""Norms from above by repeated squaring, and factorizations whose checks are deferred."""

from __future__ import annotations

import math

import pytest
import torch

from ssmbench.bench.synchronising import SynchronisationCount
from ssmbench.linalg.factorizations import cholesky, inverse, solve
from ssmbench.linalg.largest_eigenvalue import largest_eigenvalue
from ssmbench.linalg.singular_values import spectral_norm
from ssmbench.nn.linear import BoundedLinear
from ssmbench.transforms import defer_checks

SIZES = [(1, 1), (1, 5), (3, 7), (64, 64), (64, 10), (130, 200)]


def _matrix(kind: str, rows: int, columns: int) -> torch.Tensor:
    W = torch.randn(rows, columns, dtype=torch.float64)
    U, values, Vh = torch.linalg.svd(W, full_matrices=False)
    if kind == "orthogonal":
        values = torch.ones_like(values)
    elif kind == "rank one":
        values[1:] = 0
    elif kind == "two largest":
        values[:2] = values[0]
    elif kind == "two close":
        values[:2] = values[0] * torch.tensor([1, 1 - 1e-9])[: len(values)]
    return U @ torch.diag(values) @ Vh


KINDS = ["random", "orthogonal", "rank one", "two largest", "two close"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_norm_is_from_above_and_as_tight_as_stated(kind, size):
    W = _matrix(kind, *size)
    exact, least = torch.linalg.svdvals(W)[0], min(size)
    rounding = 1e-15 * (max(size) ** 2 + 8)  # of squarings, and of the other decomposition
    factor = float(spectral_norm(W) / exact)
    assert 1 - 1e-14 <= factor <= least ** (2**-26) * (1 + rounding)


@pytest.mark.parametrize("scale", [1e-200, 1e-11, 1.0, 1e200])
def test_the_norm_follows_the_scale(scale):
    W = _matrix("random", 5, 4)
    expected = max(scale * float(torch.linalg.matrix_norm(W, 2)), 1e-12)
    assert float(spectral_norm(scale * W)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_has_no_norm(value):
    W = torch.ones(3, 3)
    W[1, 2] = value
    assert torch.isnan(spectral_norm(W))


def test_the_gradient_is_that_of_the_exact_norm():
    W = _matrix("random", 6, 4).requires_grad_()
    expected = torch.autograd.grad(torch.linalg.matrix_norm(W, 2), W)[0]
    torch.testing.assert_close(torch.autograd.grad(spectral_norm(W), W)[0], expected)
    assert torch.autograd.gradgradcheck(spectral_norm, (W,))


def test_the_gradient_is_shared_among_equal_values():
    W = _matrix("two largest", 6, 4).requires_grad_()
    U, _, Vh = torch.linalg.svd(W.detach(), full_matrices=False)
    found = torch.autograd.grad(spectral_norm(W), W)[0]
    torch.testing.assert_close(found, U[:, :2] @ Vh[:2] / 2, rtol=1e-6, atol=1e-6)


def test_the_norm_is_transformed():
    W = _matrix("random", 4, 3)
    expected = torch.autograd.functional.hessian(lambda W: torch.linalg.matrix_norm(W, 2), W)
    torch.testing.assert_close(torch.func.hessian(spectral_norm)(W), expected)
    many = torch.stack([W, 2 * W])
    torch.testing.assert_close(
        torch.func.vmap(spectral_norm)(many), torch.linalg.matrix_norm(many, 2)
    )


def test_zero_has_the_eigenvalue_zero():
    M = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    value = largest_eigenvalue(M)
    value.backward()
    assert value == 0
    assert M.grad is not None
    assert M.grad.isfinite().all()


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30, 1e38])
@pytest.mark.parametrize("size", [(1, 3), (8, 8), (64, 64), (10, 64)])
def test_a_bounded_map_keeps_its_bound_after_rounding(size, scale):
    for kind in KINDS:
        module = BoundedLinear(size[1], size[0])
        with torch.no_grad():
            W = _matrix(kind, *size)
            module.weight.copy_(W / W.abs().amax() * scale)
        found = torch.linalg.matrix_norm(module.effective_weight().detach().double(), 2)
        assert found <= module.largest_norm()
        assert module.largest_norm() < 1 + 1e-6


SINGULAR = torch.ones(2, 2)
FAILING = {
    "cholesky": lambda: cholesky(-torch.eye(2)),
    "solve": lambda: solve(SINGULAR, torch.eye(2)),
    "inverse": lambda: inverse(SINGULAR),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_failure_is_an_error_unless_checks_are_deferred(name):
    with pytest.raises(torch.linalg.LinAlgError, match="linalg"):
        FAILING[name]()
    with defer_checks(), SynchronisationCount() as count:
        found = FAILING[name]()
    assert found.isnan().all()
    assert not count.waits
    with pytest.raises(torch.linalg.LinAlgError):
        FAILING[name]()


@pytest.mark.parametrize("name", ["cholesky", "solve", "inverse"])
def test_deferred_results_and_gradients_are_those_of_torch(name):
    A = torch.randn(3, 4, 4, dtype=torch.float64)
    A = A @ A.mT + torch.eye(4, dtype=A.dtype)
    given = (A, torch.randn(3, 4, 2, dtype=A.dtype)) if name == "solve" else (A,)
    ours = {"cholesky": cholesky, "solve": solve, "inverse": inverse}[name]
    theirs = {
        "cholesky": torch.linalg.cholesky,
        "solve": torch.linalg.solve,
        "inverse": torch.linalg.inv,
    }[name]
    given = tuple(x.requires_grad_() for x in given)
    with defer_checks():
        found = ours(*given)
    expected = theirs(*given)
    assert torch.equal(found, expected)
    pair = (torch.autograd.grad(y.sin().sum(), given) for y in (found, expected))
    for one, other in zip(*pair, strict=True):
        torch.testing.assert_close(one, other)
