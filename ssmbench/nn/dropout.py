"""Dropout whose mask is the same at every step of a sequence."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class TiedDropout(nn.Module):
    """One draw for each sequence and channel, as DropoutNd with ``tie`` in S4's code and dropout
    with ``broadcast_dims=[0]`` in S5's; what is kept is divided by 1 - p."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Float[Tensor, "B L d"]) -> Float[Tensor, "B L d"]:
        if not self.training or self.p == 0:
            return x
        return x * F.dropout(x.new_ones(x.shape[0], 1, x.shape[-1]), self.p)


def build_dropout(p: float, tied: bool) -> nn.Module:
    """Dropout of probability p, with the same mask at every step if it is tied."""
    return TiedDropout(p) if tied else nn.Dropout(p)
