"""Balanced coordinates of stable discrete systems, from factors of their Gramians."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Inexact, Int
from torch import Tensor

from ssmbench.analysis.cauchy import cauchy_factor
from ssmbench.analysis.gramians import controllability_factor, observability_factor
from ssmbench.linalg.precision import double_dtype
from ssmbench.linalg.singular_values import graded_svd
from ssmbench.systems import DiscreteDense, DiscreteDiagonal, DiscreteLTI

#: States whose Hankel singular value is a smaller share of the largest are lost to rounding.
NEGLIGIBLE = 1e-14


@dataclass(frozen=True)
class BalancedForm:
    """H systems in coordinates in which both Gramians are ``diag(hankel)``; in float64, or in
    complex128 for systems that are not real.

    ``hankel`` (H, n): all singular values, largest first. ``system``: only ``ranks`` (H,) states of
    each are other than zero, those whose values are at least :data:`NEGLIGIBLE` of the largest.
    """

    system: DiscreteDense
    hankel: Float[Tensor, "H n"]
    ranks: Int[Tensor, " H"]

    def largest_removed(self) -> Float[Tensor, "H n_plus_1"]:
        """The largest singular value beyond the first r, for r = 0 .. n."""
        return torch.nn.functional.pad(self.hankel, (0, 1))

    def tail_bounds(self) -> Float[Tensor, "H n_plus_1"]:
        """Twice the sum of the singular values beyond the first r, for r = 0 .. n; beyond the rank
        it stays as it is there."""
        after = self.hankel.flip(-1).cumsum(-1).flip(-1)
        bounds = 2 * torch.nn.functional.pad(after, (0, 1))
        last = bounds.gather(1, self.ranks[:, None])
        full = torch.arange(bounds.shape[1], device=bounds.device) >= self.ranks[:, None]
        return torch.where(full, last, bounds)


def balanced_form(system: DiscreteLTI) -> BalancedForm:
    """The balanced form of stable systems in double precision.

    Source: Laub, Heath, Paige & Ward (1987), IEEE Trans. Autom. Control 32:115 (square-root
        method); Tombs & Postlethwaite (1987), Int. J. Control 46:1319 (the projection).
    """
    dense = _one_dtype(system.to_dense())
    return balanced_by(dense, *_factors(system, dense))


def balanced_by(
    dense: DiscreteDense,
    L: Inexact[Tensor, "H n r"],
    M: Inexact[Tensor, "H n s"],
    ranks: Int[Tensor, " H"] | None = None,
) -> BalancedForm:
    """The system in coordinates in which ``L L^H`` and ``M M^H``, which stand for its Gramians,
    are diagonal and equal; ``hankel`` are the singular values of ``M^H L``. ``ranks``: how many
    states of each to keep, None for those that are not negligible."""
    U, hankel, Vh = _svd(M.mH @ L)
    n = dense.states
    kept = hankel > NEGLIGIBLE * hankel[:, :1]
    if ranks is not None:
        within = torch.arange(hankel.shape[1], device=hankel.device) < ranks[:, None]
        kept = within & (hankel > 0)
    root = torch.where(kept, hankel.clamp_min(1e-300).rsqrt(), 0.0)[:, None]
    right, left = (L @ Vh.mH * root)[..., :n], (M @ U * root)[..., :n]
    inner = DiscreteDense(
        A=_square(left.mH @ dense.A @ right, n),
        B=torch.nn.functional.pad(left.mH @ dense.B, (0, 0, 0, n - left.shape[-1])),
        C=torch.nn.functional.pad(dense.C @ right, (0, n - right.shape[-1])),
        D=dense.D,
    )
    hankel = torch.nn.functional.pad(hankel, (0, max(n - hankel.shape[1], 0)))[:, :n]
    return BalancedForm(inner, hankel, kept[:, :n].sum(-1))


def _svd(K: Inexact[Tensor, "H s r"]) -> tuple[Tensor, Tensor, Tensor]:
    heads = [graded_svd(one) for one in K.cpu().resolve_conj().numpy()]
    U, values, Vh = (torch.from_numpy(np.stack(parts)) for parts in zip(*heads, strict=True))
    return U.to(K.device), values.to(K.device), Vh.to(K.device)


def _square(A: Tensor, n: int) -> Tensor:
    short = n - A.shape[-1]
    return torch.nn.functional.pad(A, (0, short, 0, short))


def _one_dtype(dense: DiscreteDense) -> DiscreteDense:
    dtype = double_dtype(dense.A, dense.B, dense.C, dense.D)
    return dense.map(lambda t: t.to(dtype))


def _factors(
    system: DiscreteLTI, dense: DiscreteDense
) -> tuple[Inexact[Tensor, "H n r"], Inexact[Tensor, "H n s"]]:
    """Factors L and M of the controllability and observability Gramians of the dense form."""
    if not isinstance(system, DiscreteDiagonal):
        return controllability_factor(dense), observability_factor(dense)
    lam, B, C = (t.to(torch.complex128) for t in (system.lam, system.B, system.C))
    if system.conjugate:
        lam, B = torch.cat([lam, lam.conj()], 1), torch.cat([B, B.conj()], 1)
        C = torch.cat([C, C.conj()], 2)
    L = cauchy_factor(lam, B, discrete=True)
    M = cauchy_factor(lam.conj(), C.mH, discrete=True)
    if system.conjugate:
        # Of a stored mode z and its conjugate, the dense form has (Re z, Im z) as its states.
        (z, w), (p, q) = L.chunk(2, 1), M.chunk(2, 1)
        L = torch.cat([z + w, (z - w) / 1j], 1) / 2
        M = torch.cat([p + q, (p - q) / 1j], 1)
    return (L, M) if dense.A.is_complex() else (_real(L), _real(M))


def _real(factor: Tensor) -> Tensor:
    """[Re L, Im L], a factor of the same Gramian L L^H where that is real, with columns in the
    order of L: they are graded, which keeps small singular values accurate."""
    return torch.stack([factor.real, factor.imag], -1).flatten(-2)
