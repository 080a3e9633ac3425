"""The sum of the Hankel singular values, with gradients."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.analysis.cauchy import cauchy_factor
from ssmbench.analysis.gramians import (
    controllability_factor,
    gramian_denominators,
    observability_factor,
)
from ssmbench.analysis.hankel import hankel_singular_values
from ssmbench.linalg.lyapunov import gramian_factor
from ssmbench.linalg.precision import double_dtype
from ssmbench.systems import DiscreteDiagonal, DiscreteLTI

#: Singular values that are a smaller share of the largest are rounding, and have no gradient.
_NEGLIGIBLE = 1e-12


def hankel_sum(system: DiscreteLTI) -> Float[Tensor, " H"]:
    """The sum over each head's Hankel singular values, float64, with gradients to A, B and C.

    With Gramians X = L L^H and Y = M M^H and M^H L = U S V^H, the sum changes by
    ``(tr P dX + tr Q dY) / 2`` with P = M U S^-1 U^H M^H and Q = L V S^-1 V^H L^H, and
    ``tr P dX = 2 Re tr Z (dA X A^H + dB B^H)``, where Z solves Z = A^H Z A + P. So no factorization
    is differentiated, which nearly equal or vanishing singular values would spoil. A head that is
    not stable has the sum 0, without a gradient.

    Source: the derivative of the nuclear norm (Watson 1992, Linear Algebra Appl. 170:33) of the
        Hankel operator.
    """
    stable = (system.detach().double().spectral_radius() < 1).nonzero()[:, 0]
    part = system.map(lambda t: t.to(double_dtype(t))[stable])
    sums = system.D.real.new_zeros(system.heads, dtype=torch.float64)
    if not len(stable):
        return sums + 0 * system.D.real.sum()  # in the graph, as other sums are
    return sums.index_put((stable,), _of_stable(part))


@torch.no_grad()
def hankel_values(system: DiscreteLTI) -> Float[Tensor, "H order"]:
    """As :func:`~.hankel.hankel_singular_values`, of stable systems in float64: much faster for
    diagonal ones."""
    if not isinstance(system, DiscreteDiagonal):
        return hankel_singular_values(system)
    L, M = _factors(*_all_modes(system))
    return torch.linalg.svdvals(M.mH @ L)


def _of_stable(system: DiscreteLTI) -> Float[Tensor, " H"]:
    if isinstance(system, DiscreteDiagonal):
        return _of_diagonal(system)
    dtype = double_dtype(system.A, system.B, system.C)
    dense = system.map(lambda t: t.to(dtype))
    A, B, C = dense.A, dense.B, dense.C
    with torch.no_grad():
        L, M = controllability_factor(dense), observability_factor(dense)
        value, right, left = _balancing(L, M)
        Z = gramian_factor(A.mH, left, discrete=True)
        W = gramian_factor(A, right, discrete=True)
    change = _square(Z.mH @ A @ L) + _square(Z.mH @ B) + _square(M.mH @ A @ W) + _square(C @ W)
    return value + (change - change.detach()) / 2


def _of_diagonal(system: DiscreteDiagonal) -> Float[Tensor, " H"]:
    """By the Gramians in closed form, which are differentiable themselves."""
    lam, B, C = _all_modes(system)
    with torch.no_grad():
        value, right, left = _balancing(*_factors(lam, B, C))
    denominators = gramian_denominators(lam, discrete=True)
    X, Y = B @ B.mH / denominators, C.mH @ C / denominators.conj()
    change = _trace(left, X) + _trace(right, Y)
    return value + (change - change.detach()) / 2


def _all_modes(system: DiscreteDiagonal) -> tuple[Tensor, Tensor, Tensor]:
    """lam, B and C with both modes of each conjugate pair, complex128."""
    lam, B, C = (t.to(torch.complex128) for t in (system.lam, system.B, system.C))
    if not system.conjugate:
        return lam, B, C
    lam, B = torch.cat([lam, lam.conj()], 1), torch.cat([B, B.conj()], 1)
    return lam, B, torch.cat([C, C.conj()], 2)


def _factors(lam: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    return cauchy_factor(lam, B, discrete=True), cauchy_factor(lam.conj(), C.mH, discrete=True)


def _balancing(L: Tensor, M: Tensor) -> tuple[Float[Tensor, " H"], Tensor, Tensor]:
    """The sum, and the factors of Q and P: L V S^(-1/2) and M U S^(-1/2)."""
    U, S, Vh = torch.linalg.svd(M.mH @ L, full_matrices=False)
    kept = _NEGLIGIBLE * S[:, :1] < S
    root = torch.where(kept, S.clamp_min(1e-300).rsqrt(), 0.0)[:, None]
    return S.sum(-1), L @ (Vh.mH * root), M @ (U * root)


def _square(matrices: Tensor) -> Float[Tensor, " H"]:
    """The square of the Frobenius norm of each."""
    return matrices.abs().square().sum((-1, -2))


def _trace(factor: Tensor, gramian: Tensor) -> Float[Tensor, " H"]:
    """tr(F^H G F)."""
    return (factor.conj() * (gramian @ factor)).real.sum((-1, -2))
