"""Orthogonal matrices from free parameters, and parameters of limited norm."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

#: Beyond this norm a saturating map is constant to 1e-12, and factorizations lose accuracy.
LARGEST_NORM = 1e6


def limited(x: Float[Tensor, "*shape"], norm: float = LARGEST_NORM) -> Float[Tensor, "*shape"]:
    """x, scaled down to the Frobenius norm ``norm`` where its norm is larger."""
    largest = x.detach().abs().amax().clamp_min(1.0)
    size = largest * torch.linalg.vector_norm(x / largest)  # squares of 1e200 overflow
    return x * (norm / size.clamp_min(norm))


def cayley(Y: Float[Tensor, "N N"]) -> Float[Tensor, "N N"]:
    """(I - S)(I + S)^-1, orthogonal, for S = Y - Y' from the strict upper triangle of Y.

    It is the identity for Y = 0, never has the eigenvalue -1, and has determinant +1. Y passes
    through :func:`limited`, since for a larger norm I + S is singular to working precision.
    """
    upper = limited(torch.triu(Y, 1))
    S = upper - upper.T
    eye = torch.eye(len(Y), dtype=Y.dtype, device=Y.device)
    return torch.linalg.solve_ex(eye + S, eye - S).result  # never singular: nothing to check
