"""Windows of records, and the measured outputs from which a model can estimate its state."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.tasks.batch import Batch
from ssmbench.tasks.sequences import WindowedSequences


def window_starts(samples: int, window: int, stride: int) -> range:
    """The first sample of each window that ends within a record."""
    return range(0, samples - window + 1, stride)


def with_initial_outputs(
    u: Float[Tensor, "*B L m"], y: Float[Tensor, "*B L p"], steps: int
) -> Float[Tensor, "*B L channels"]:
    """The inputs, and for ``steps`` > 0 more channels: the outputs in the first steps, zero after
    them, and a channel that is 1 in these steps and 0 after them."""
    if steps == 0:
        return u
    given = torch.zeros_like(y[..., :1])
    given[..., :steps, :] = 1
    return torch.cat([u, y * given, given], dim=-1)


class RecordWindows(WindowedSequences):
    """Windows of several records, which are not copied for each window.

    ``records``: u (T, m) and y (T, p) of each. ``washout``: steps of a window that are not scored;
    in the first ``initial_outputs`` of them the outputs are given.
    """

    def __init__(
        self,
        records: Sequence[tuple[Tensor, Tensor]],
        *,
        window: int,
        stride: int,
        washout: int,
        initial_outputs: int,
    ):
        starts: list[int] = []
        before = 0
        for u, _ in records:
            starts += [before + first for first in window_starts(len(u), window, stride)]
            before += len(u)
        series = torch.cat([torch.cat(signals, dim=-1) for signals in records])
        super().__init__(series, starts, window)
        self.inputs, self.washout = records[0][0].shape[-1], washout
        self.initial_outputs = initial_outputs

    def of_windows(self, windows: Float[Tensor, "B L channels"]) -> Batch:
        """Inputs with the outputs that are given, and the scored outputs."""
        u, y = windows[..., : self.inputs], windows[..., self.inputs :]
        given = with_initial_outputs(u, y, self.initial_outputs)
        return Batch(given.contiguous(), y[:, self.washout :].contiguous())

    def to_check(self) -> Batch:
        """All records as one sequence."""
        return self.of_windows(self.series[None])
