"""Conditions that a run adds to a task: samples that are dropped, and longer test sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ssmbench.errors import require
from ssmbench.spec import Channels, TaskSizes
from ssmbench.tasks.batch import Batch
from ssmbench.tasks.dropping import Thinned, drop_samples
from ssmbench.tasks.sequences import SequenceData, Splits, Varied

#: The quantities of :class:`~ssmbench.tasks.sequences.Varied` that conditions vary.
LENGTH_FACTOR, SHARE_DROPPED = "length factor", "share dropped"

#: The test sequences of a task, so many times as long.
Longer = Callable[[int], SequenceData]


@dataclass(frozen=True)
class Conditions:
    """``dropped``: the share of the samples that is dropped in every split; of the training
    sequences others in every epoch, of the others always the same, by ``seed``. ``test_dropped``:
    shares for further test sets. ``length_factors``: of further test sets whose sequences are so
    many times as long."""

    dropped: float = 0.0
    test_dropped: tuple[float, ...] = ()
    seed: int = 0
    length_factors: tuple[int, ...] = ()

    @property
    def uneven(self) -> bool:
        """Whether a network is given time steps that differ."""
        return any(share > 0 for share in (self.dropped, *self.test_dropped))

    @property
    def remark(self) -> str:
        """What a reader of the scores must know, after the source of the data."""
        return f"; {self.dropped:.4g} of the samples dropped at random" if self.dropped else ""

    def train_batch(self, batch: Batch, place: Sequence[int], per_step: bool) -> Batch:
        """A training batch without the samples that are dropped in the step named by ``place``."""
        if self.dropped == 0:
            return batch
        random = np.random.default_rng(place)
        numbers = torch.from_numpy(random.random(batch.u.shape[:2]))
        return drop_samples(batch, self.dropped, numbers, per_step=per_step)

    def usual(self, quantity: str) -> float | None:
        """The value of a quantity on the test set itself; None if it is not one of these."""
        return {LENGTH_FACTOR: 1.0, SHARE_DROPPED: self.dropped}.get(quantity)

    def applied(self, splits: Splits, longer: Longer, *, per_step: bool) -> Splits:
        """The splits under these conditions: ``splits`` itself where there is none.

        ``longer``: the test sequences of the task, so many times as long. Training sequences are
        thinned batch by batch, by :meth:`train_batch`.
        """
        splits = splits.and_further(longer_sets(longer, self.length_factors))
        if not (self.dropped or self.test_dropped):
            return splits

        def thinned(data: SequenceData, share: float) -> SequenceData:
            return Thinned(data, share, self.seed, per_step=per_step) if share else data

        more = {f"{100 * share:.6g}% dropped": share for share in self.test_dropped}
        return replace(
            splits,
            val=thinned(splits.val, self.dropped),
            test=thinned(splits.test, self.dropped),
            further={name: thinned(one, self.dropped) for name, one in splits.further.items()},
        ).and_further(
            {
                name: (thinned(splits.test, share), Varied(SHARE_DROPPED, share))
                for name, share in more.items()
            }
        )


def longer_sets(longer: Longer, factors: Sequence[int]) -> dict[str, tuple[SequenceData, Varied]]:
    """A further test set for each factor of the length, by name."""
    return {
        f"{factor} x length": (longer(factor), Varied(LENGTH_FACTOR, float(factor)))
        for factor in factors
    }


def check_droppable(name: str, sizes: TaskSizes, reason: str) -> None:
    """Raise a UsageError unless samples of the task called ``name`` can be dropped.

    ``reason``: why its author does not allow it; "" if they can be.
    """
    if not isinstance(sizes.input, Channels):
        reason = f"its input is {sizes.input}, not samples of a signal"
    require(not reason, f"sampling: no samples of {name} can be dropped: {reason}")
