"""Frames: samples that a network reads together as one step, side by side in the channels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ssmbench.errors import UsageError, require
from ssmbench.nn.sampling import check_time_steps
from ssmbench.spec import Channels, TaskSizes


@dataclass(frozen=True)
class Framing:
    """``samples`` successive samples are one step of the network; the last frame is filled with
    zeros. On signals this is an isometry in l2, so that gains from framed and from given signals
    are the same."""

    samples: int = 1

    def count(self, samples: int) -> int:
        """The number of frames that so many samples fill or begin."""
        return -(-samples // self.samples)

    def signal(self, u: Float[Tensor, "B L c"]) -> Float[Tensor, "B frames _"]:
        """u (B, L, c) as (B, ceil(L / F), F c), channels of the earliest sample first."""
        missing = self.count(u.shape[1]) * self.samples - u.shape[1]
        return F.pad(u, (0, 0, 0, missing)).unflatten(1, (-1, self.samples)).flatten(2)

    def lengths(self, lengths: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
        """The number of frames of each sequence."""
        return (lengths + self.samples - 1) // self.samples

    def time_steps(
        self, dt: Float[Tensor, "B L"], shape: tuple[int, ...]
    ) -> Float[Tensor, "B frames"]:
        """The duration of each frame, in units of a frame of uniform sampling: the sum of its
        samples' time steps divided by their number. The samples that fill the last one have 1.

        Raises:
            UsageError: dt has another shape than ``shape``, or a time step is not positive.
        """
        check_time_steps(dt, shape)
        missing = self.count(dt.shape[1]) * self.samples - dt.shape[1]
        return F.pad(dt, (0, missing), value=1.0).unflatten(1, (-1, self.samples)).mean(-1)

    def check_chunk(self, samples: int) -> None:
        """Raise a UsageError unless a chunk of a stream is a whole number of frames."""
        require(
            samples % self.samples == 0,
            f"a chunk of a stream must be a multiple of model.frame = {self.samples} samples, got "
            f"{samples}",
        )

    def check_rate(self, rate: float) -> None:
        """Raise a UsageError unless the network can run at ``rate``: the encoder of a frame was
        trained on samples at their own distance."""
        require(
            self.samples == 1 or rate == 1,
            f"rate: model.frame = {self.samples} reads samples together at the distance of the "
            f"training; a framed network has no other sampling rate, got {rate:g}",
        )

    def sizes(self, sizes: TaskSizes) -> TaskSizes:
        """The sizes of a task as the network sees them.

        Raises:
            UsageError: the task has tokens, pairs of sequences or predictions per step.
        """
        if self.samples == 1:
            return sizes
        if sizes.per_step or not isinstance(sizes.input, Channels):
            has = "predictions per step" if sizes.per_step else str(sizes.input)
            raise UsageError(
                f"model.frame: {self.samples} samples can be read together where the input is "
                "channels and the prediction is for a whole sequence, but this task has " + has
            )
        framed = Channels(self.samples * sizes.input.count)
        return replace(sizes, input=framed, length=self.count(sizes.length), image=None)
