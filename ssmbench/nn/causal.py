"""A causal convolution of each channel by itself, over chunks of a signal."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ssmbench.errors import require


class CausalConv(nn.Conv1d):
    """Reads the present step and the ``kernel - 1`` before it, zeros before the first."""

    def __init__(self, channels: int, kernel: int):
        super().__init__(channels, channels, kernel, groups=channels)

    def extended(
        self, h: Float[Tensor, "B L E"], before: Float[Tensor, "B k E"] | None
    ) -> Float[Tensor, "B M E"]:
        """h with the inputs before it.

        Raises:
            UsageError: ``before`` is not of ``kernel - 1`` steps of such a signal.
        """
        steps = self.kernel_size[0] - 1
        if before is None:
            return F.pad(h, (0, 0, steps, 0))
        wanted, found = (len(h), steps, h.shape[-1]), tuple(before.shape)
        require(
            found == wanted,
            f"the inputs before a causal convolution must have the shape {wanted}, got {found}",
        )
        return torch.cat([before.to(h), h], 1)

    def forward(self, extended: Float[Tensor, "B M E"]) -> Float[Tensor, "B L E"]:
        """Of a signal that :meth:`extended` gave."""
        return super().forward(extended.mT).mT

    def kept(self, extended: Float[Tensor, "B M E"]) -> Float[Tensor, "B k E"]:
        """The inputs that the next chunk needs."""
        return extended[:, extended.shape[1] - (self.kernel_size[0] - 1) :]
