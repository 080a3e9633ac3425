"""One level of what is lost for many heads, from the share of all their states that is removed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor


def orders_at(losses: Float[Tensor, "H n_plus_1"], level: Float[Tensor, " H"]) -> Int[Tensor, " H"]:
    """The fewest states of each head that lose at most its level; those that lose least where none
    do. ``losses``: with 0 .. n states kept, infinite where so many cannot be."""
    limit = torch.maximum(level, losses.amin(-1))
    return (losses <= limit[:, None]).double().argmax(-1)


def joint_level(losses: Sequence[Float[Tensor, "H n_plus_1"]], share: float) -> float:
    """The smallest level of loss, the same for all heads of all systems, at which at least this
    share of their states is removed; infinite where even that removes fewer."""
    total = sum(part.shape[0] * (part.shape[1] - 1) for part in losses)
    allowed = math.floor((1 - share) * total + 1e-9)
    finite = torch.cat([part[part.isfinite()] for part in losses]).unique()
    first, last = 0, len(finite)
    while first < last:  # what is kept falls with the level
        middle = (first + last) // 2
        level = finite[middle]
        kept = sum(int(orders_at(part, level.expand(len(part))).sum()) for part in losses)
        first, last = (first, middle) if kept <= allowed else (middle + 1, last)
    return float(finite[first]) if first < len(finite) else math.inf
