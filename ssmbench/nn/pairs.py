"""Pairs of sequences, as rows of a batch for the blocks or as channels of one signal."""

from __future__ import annotations

import torch
from jaxtyping import Shaped
from torch import Tensor


def join_pairs(rows: Shaped[Tensor, "R L d"]) -> Shaped[Tensor, "B L _"]:
    """Rows 2k and 2k + 1 as the channels of one signal, (R / 2, L, 2 d)."""
    return torch.cat(rows.unflatten(0, (-1, 2)).unbind(1), -1)


def split_pairs(signals: Shaped[Tensor, "B L d"]) -> Shaped[Tensor, "B 2 L _"]:
    """The inverse of :func:`join_pairs`, as pairs (B, 2, L, d / 2)."""
    return torch.stack(signals.chunk(2, -1), 1)
