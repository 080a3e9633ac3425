"""How a sequence is reduced to one vector: which steps are summed, and the divisor of the sum.

The same definition serves whole batches, padded ones, streams, and sequences shared among ranks.
"""

from __future__ import annotations

import math
from enum import Enum

from jaxtyping import Bool, Float, Int
from torch import Tensor

from ssmbench.analysis.certificate import IDENTITY, Bound
from ssmbench.lengths import last_steps, mask_steps, valid_steps


class Pooling(Enum):
    """How a sequence is reduced to one vector; ``unit`` is the sum / sqrt(L), with l2 gain 1."""

    mean = "mean"
    last = "last"
    unit = "unit"

    def steps(self, lengths: Int[Tensor, " B"], total: int) -> Bool[Tensor, "B L"]:
        """Which of ``total`` steps are summed: the valid ones, or the last valid one."""
        chosen = last_steps if self is Pooling.last else valid_steps
        return chosen(lengths, total)

    def sum(
        self, x: Float[Tensor, "B L d"], steps: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "B d"]:
        """The sum over ``steps``; None means sequences without padding."""
        if steps is not None:
            return mask_steps(x, steps).sum(1)
        return x[:, -1] if self is Pooling.last else x.sum(1)

    def add(
        self, before: Float[Tensor, "B d"] | None, chunk: Float[Tensor, "B d"]
    ) -> Float[Tensor, "B d"]:
        """The sum up to the end of a chunk, from the sum before it and that of the chunk."""
        return chunk if before is None or self is Pooling.last else before + chunk

    def divide(
        self, total: Float[Tensor, "B d"], lengths: int | Int[Tensor, " B"]
    ) -> Float[Tensor, "B d"]:
        """The pooled vector, from the sum over ``lengths`` steps of each sequence."""
        if self is Pooling.last:
            return total
        if isinstance(lengths, int):
            return total / self._divisor(lengths)
        steps = lengths.to(total.dtype)[:, None]
        return total / (steps if self is Pooling.mean else steps.sqrt())

    def bound(self, length: int) -> Bound:
        """The l2 gain for sequences of ``length`` steps: |sum_t x_t| <= sqrt(L) ||x||."""
        if self is Pooling.last:
            return IDENTITY
        return Bound(math.sqrt(length) / self._divisor(length))

    def _divisor(self, length: int) -> float:
        return float(length) if self is Pooling.mean else math.sqrt(length)
