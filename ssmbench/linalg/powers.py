"""Powers of numbers and matrices by repeated squaring: no logarithm, so zero is no special case."""

from __future__ import annotations

import torch
from jaxtyping import Inexact
from torch import Tensor


def power_table(
    base: Inexact[Tensor, "*shape"], count: int, *, dim: int = 0
) -> Inexact[Tensor, "*with_powers"]:
    """base^0 .. base^(count-1) elementwise, along a new dimension; exact gradients at zero.

    Computed in the dtype of ``base``: convert it to double precision first where the rounding of
    long products matters.
    """
    table, square = torch.ones_like(base).unsqueeze(dim), base.unsqueeze(dim)
    while table.shape[dim] < count:
        table = torch.cat([table, table * square], dim)
        square = square * square
    return table.narrow(dim, 0, count)


def matrix_power_table(
    base: Inexact[Tensor, "*shape N N"], count: int
) -> Inexact[Tensor, "count *shape N N"]:
    """base^0 .. base^(count-1) of matrices, along a new first dimension."""
    eye = torch.eye(base.shape[-1], dtype=base.dtype, device=base.device)
    table, square = eye.expand_as(base)[None], base
    while table.shape[0] < count:
        table = torch.cat([table, table @ square])
        square = square @ square
    return table[:count]


def power(base: Inexact[Tensor, "*shape"], exponent: int) -> Inexact[Tensor, "*shape"]:
    """base^exponent elementwise, for an exponent of 0 or more."""
    result = torch.ones_like(base)
    while exponent:
        if exponent & 1:
            result = result * base
        base, exponent = base * base, exponent >> 1
    return result
