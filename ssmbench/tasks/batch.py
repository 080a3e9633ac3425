"""One batch of a task: what the network, the loss and the metrics are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from ssmbench.lengths import valid_steps

#: The class of a step that is not scored, which torch's losses and torchmetrics can ignore.
UNSCORED = -100


class Batch(NamedTuple):
    """B sequences with their targets; a tuple.

    ``u``: (B, L, channels) float32, or (B, L) int64 tokens; for pairs of sequences,
    (B, 2, L, channels) or (B, 2, L). ``target``: (B, ...) for predictions per sequence; (B, S, ...)
    for predictions per step, where S <= L: the last S steps are scored. ``lengths``: valid steps of
    each sequence, int64, (B,) or (B, 2) for pairs; None if all are L. Padding is at the end.
    ``dt``: (B, L) or (B, 2, L) float32, the time from each sample to the next in units of the
    network's own step size; None if it is 1 everywhere.
    """

    u: Shaped[Tensor, "B ..."]
    target: Shaped[Tensor, "B ..."]
    lengths: Int64[Tensor, "B ..."] | None = None
    dt: Float[Tensor, "B ..."] | None = None

    @property
    def size(self) -> int:
        """The number of sequences, or of pairs."""
        return len(self.u)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Batch:
        """The batch on another device, with its real numbers in another precision.

        From pinned memory the host does not wait for the copy; the device's later work does.
        """
        return self._map(lambda tensor: _moved(tensor, device, dtype))

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory, from which copies to a GPU run beside its work."""
        return self._map(lambda tensor: tensor.pin_memory())

    def at(self, chosen: slice) -> Batch:
        """A slice of the sequences."""
        return self._map(lambda tensor: tensor[chosen])

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(
            u=change(self.u),
            target=change(self.target),
            lengths=None if self.lengths is None else change(self.lengths),
            dt=None if self.dt is None else change(self.dt),
        )

    def scored(
        self, prediction: Float[Tensor, "B *steps outputs"]
    ) -> tuple[Float[Tensor, "n outputs"], Shaped[Tensor, "n ..."]]:
        """The prediction and the target where they are compared, without padding.

        For predictions per sequence both are unchanged; for predictions per step they hold the
        scored, valid steps of all sequences, one sequence after another.
        """
        if prediction.ndim < 3:
            return prediction, self.target
        first = prediction.shape[1] - self.target.shape[1]
        if self.lengths is None:
            return prediction[:, first:].flatten(0, 1), self.target.flatten(0, 1)
        valid = valid_steps(self.lengths, prediction.shape[1])[:, first:]
        return prediction[:, first:][valid], self.target[valid]

    def weight(self, prediction: Float[Tensor, "B *steps outputs"]) -> int:
        """The weight of this batch in a mean over batches: the number of its sequences, or of its
        scored steps if predictions are per step and lengths differ."""
        ragged = self.lengths is not None and prediction.ndim == 3
        return len(self.scored(prediction)[0]) if ragged else self.size


def _moved(tensor: Tensor, device: torch.device | str | None, dtype: torch.dtype | None) -> Tensor:
    dtype = dtype if tensor.is_floating_point() else None
    return tensor.to(device, dtype, non_blocking=tensor.is_pinned())
