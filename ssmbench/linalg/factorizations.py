"""Factorizations and solutions whose failure is an error, or NaN where checks are deferred.

PyTorch checks each of these on the host, which waits for a GPU; the forms with ``_ex`` do not.
"""

from __future__ import annotations

import torch
from jaxtyping import Inexact, Int
from torch import Tensor

from ssmbench.transforms import checks_deferred


def cholesky(M: Inexact[Tensor, "*shape N N"]) -> Inexact[Tensor, "*shape N N"]:
    """The lower Cholesky factor.

    Raises:
        torch.linalg.LinAlgError: M is not positive definite; where checks are deferred
            (:func:`ssmbench.transforms.defer_checks`), the factor is NaN instead.
    """
    if not checks_deferred():
        return torch.linalg.cholesky(M)
    return _or_nan(*torch.linalg.cholesky_ex(M))


def solve(
    A: Inexact[Tensor, "*shape N N"], B: Inexact[Tensor, "*other N k"]
) -> Inexact[Tensor, "*result N k"]:
    """A^-1 B.

    Raises:
        torch.linalg.LinAlgError: A is singular; where checks are deferred, the result is NaN.
    """
    if not checks_deferred():
        return torch.linalg.solve(A, B)
    return _or_nan(*torch.linalg.solve_ex(A, B))


def inverse(A: Inexact[Tensor, "*shape N N"]) -> Inexact[Tensor, "*shape N N"]:
    """A^-1.

    Raises:
        torch.linalg.LinAlgError: A is singular; where checks are deferred, the result is NaN.
    """
    if not checks_deferred():
        return torch.linalg.inv(A)
    return _or_nan(*torch.linalg.inv_ex(A))


def _or_nan(result: Inexact[Tensor, "*shape N k"], info: Int[Tensor, "*of_A"]) -> Tensor:
    return result.masked_fill((info != 0)[..., None, None], torch.nan)
