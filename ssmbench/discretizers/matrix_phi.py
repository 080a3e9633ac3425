"""e^Z - 1 and the phi functions of matrices, accurate where Z is stiff or its modes are slow.

Scaling and squaring of ``e^Z - 1`` in place of ``e^Z`` (Moler, Van Loan 2003, SIAM Review 45:3,
method 3; the modified squaring of Skaflestad, Wright 2009, Appl. Numer. Math. 59:783): near zero,
rounding ``e^Z`` hides the decay of a slow mode, and s squarings multiply the rounding error by 2^s,
to 1e-10 for rates of 1 and 1e6 in one matrix. ``e^Z - 1`` keeps the decay, entry by entry.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Inexact
from torch import Tensor

from ssmbench.transforms import values_unknown

_RADIUS = 0.5
_TERMS = 16  # 0.5^16 / 17! is far below float64's rounding
_BLOCK = 4  # powers of Z that are formed (Paterson, Stockmeyer 1973, SIAM J. Comput. 2:60)


def matrix_phi(Z: Inexact[Tensor, "H N N"], order: int) -> list[Inexact[Tensor, "H N N"]]:
    """``[e^Z - 1, phi_1(Z), .., phi_order(Z)]``, phi_k(z) = sum_n z^n / (n + k)!, order 1 or 2.

    Every matrix is scaled by its own norm, so one does not affect the accuracy of another. Where
    the tensors have no values from which to count the doublings (traced, or under ``torch.func``),
    torch's exponential of a joint matrix is used instead: it is as accurate except for stiff
    matrices.
    """
    if values_unknown():
        return _joint_exponential(Z, order)
    doublings = _doublings(Z.detach())
    Z = Z * _power_of_two(-doublings).to(Z.real.dtype)[:, None, None]
    found = [_series(Z, order)]
    for k in range(order - 1, -1, -1):  # phi_k = 1 / k! + Z phi_(k+1); e^Z - 1 without the 1
        product = Z @ found[0]
        found.insert(0, _plus_identity(product, 1 / math.factorial(k)) if k else product)
    for step in range(int(doublings.max())):
        more = (step < doublings)[:, None, None]
        pairs = zip(_doubled(found), found, strict=True)
        found = [torch.where(more, new, old) for new, old in pairs]
    return found


def _joint_exponential(Z: Tensor, order: int) -> list[Tensor]:
    """The first block row of the exponential of [[Z, I, 0], [0, 0, I], [0, 0, 0]]."""
    eye = torch.eye(Z.shape[-1], dtype=Z.dtype, device=Z.device).expand_as(Z)
    zero = torch.zeros_like(Z)
    rows = [torch.cat([Z, eye, *[zero] * (order - 1)], -1)]
    for k in range(1, order + 1):
        rows.append(torch.cat([eye if j == k + 1 else zero for j in range(order + 1)], -1))
    first = torch.linalg.matrix_exp(torch.cat(rows, -2))[..., : Z.shape[-1], :]
    power, *phis = first.chunk(order + 1, -1)
    return [_plus_identity(power, -1.0), *phis]


def _doublings(Z: Tensor) -> Tensor:
    """How many times each Z must be halved until its 1-norm is at most the radius, (H,)."""
    norm = Z.abs().sum(-2).amax(-1) if Z.shape[-1] else Z.new_zeros(len(Z), dtype=Z.real.dtype)
    exponent = torch.frexp(norm / _RADIUS).exponent
    return torch.where(norm.isfinite(), exponent.clamp(0, 1022), 0)


def _power_of_two(exponent: Tensor) -> Tensor:
    """2^exponent from its bits: exact, where ``exp2`` may round and ``ldexp`` has no gradient."""
    return ((exponent.long() + 1023) << 52).view(torch.float64)


def _series(Z: Tensor, k: int) -> Tensor:
    """The first terms of phi_k's series for small Z: blocks of four, by Horner's rule in Z^4."""
    powers = [Z]
    for _ in range(_BLOCK - 1):
        powers.append(powers[-1] @ Z)
    total = torch.zeros_like(Z)
    for first in range(_TERMS - _BLOCK, -1, -_BLOCK):
        weights = [1 / math.factorial(first + k + n) for n in range(_BLOCK)]
        block = sum(w * power for w, power in zip(weights[1:], powers, strict=False))
        total = _plus_identity(powers[-1] @ total + block, weights[0])
    return total


def _plus_identity(Z: Tensor, factor: float) -> Tensor:
    return Z + factor * torch.eye(Z.shape[-1], dtype=Z.dtype, device=Z.device)


def _doubled(found: list[Tensor]) -> list[Tensor]:
    """The functions at 2 Z from those at Z."""
    loss, phi_1, *rest = found
    doubled = [2 * loss + loss @ loss, phi_1 + phi_1 @ loss / 2]
    return doubled + [(phi_1 @ phi_1 + 2 * phi_2) / 4 for phi_2 in rest]
