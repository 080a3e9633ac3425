"""Orthogonal matrices from free parameters."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def cayley(Y: Float[Tensor, "N N"]) -> Float[Tensor, "N N"]:
    """(I - S)(I + S)^-1, orthogonal, for S = Y - Y' from the strict upper triangle of Y.

    The identity for Y = 0. It never has the eigenvalue -1, and its determinant is +1.
    """
    upper = torch.triu(Y, 1)
    S = upper - upper.T
    eye = torch.eye(len(Y), dtype=Y.dtype, device=Y.device)
    return torch.linalg.solve(eye + S, eye - S)
