"""Factors of the Gramians of diagonal systems, from their modes and inputs alone.

The Gramian of a diagonal system, ``X_ij = b_i b_j^H / (1 - lam_i conj(lam_j))``, is a Cauchy-like
matrix: numerically singular already at a dozen modes, so that Cholesky's method breaks down on its
rounded entries. Each of its Schur complements is again such a matrix, whose b_i are those of the
last one times a Blaschke factor. Eliminated in this form, from products and quotients alone, the
factor is right to full relative accuracy in every entry, however small the pivots are.
"""

from __future__ import annotations

import torch
from jaxtyping import Complex, Inexact
from torch import Tensor

from ssmbench.analysis.gramians import gramian_denominators, one_minus_square


def cauchy_factor(
    lam: Inexact[Tensor, "H N"], B: Inexact[Tensor, "H N m"], *, discrete: bool
) -> Complex[Tensor, "H N N"]:
    """L with the controllability Gramian X = L L^H of every stable diagonal system, complex128.

    By Cholesky's method with diagonal pivoting, O(N^2 m). Columns follow the pivots, largest first;
    rows stay in the order of the modes. With one input, each entry has a small relative error; with
    more, L has a small backward error.

    Source: Haut & Beylkin (2012), SIAM J. Matrix Anal. Appl. 33:1101, algorithm 2; Demmel (1999),
        ibid. 21:562; the form for several inputs is that of the generalised Schur algorithm
        (Kailath & Sayed 1995, SIAM Rev. 37:297).
    """
    lam, B = lam.to(torch.complex128), B.to(torch.complex128)
    gap = one_minus_square(lam) if discrete else -2 * lam.real
    denominators = gramian_denominators(lam, discrete=discrete)
    heads = torch.arange(len(lam), device=lam.device)
    columns = []
    for _ in range(lam.shape[1]):
        sizes = torch.linalg.vector_norm(B, dim=-1)
        pivot = (sizes / gap.sqrt()).argmax(-1)
        direction = B[heads, pivot] / sizes[heads, pivot].clamp_min(1e-300)[:, None]
        along = (B @ direction.conj()[:, :, None])[..., 0]
        column = denominators[heads, :, pivot]
        columns.append(along * gap[heads, pivot].sqrt()[:, None] / column)
        blaschke = (lam - lam[heads, pivot][:, None]) / column
        B = _eliminated(B, along, blaschke, direction)
        B[heads, pivot] = 0
    return torch.stack(columns, -1) if columns else lam.new_zeros(*lam.shape, 0)


def _eliminated(B: Tensor, along: Tensor, blaschke: Tensor, direction: Tensor) -> Tensor:
    """The inputs of the Schur complement: their part along the pivot's times the Blaschke factor.

    ``along`` (H, N) are the sizes of these parts.
    """
    if B.shape[-1] == 1:  # a product, without cancellation
        return B * blaschke[..., None]
    return B + (along * (blaschke - 1))[..., None] * direction[:, None, :]
