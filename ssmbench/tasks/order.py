"""Which sequences form each batch: shuffled for training, divided among ranks, resumable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from ssmbench.tasks.batch import Batch
from ssmbench.tasks.sequences import SequenceData


class Batches(DataLoader[Batch]):
    """Batches of a split, in the sampler's order, resumable between any two of them.

    Lightning saves and loads the state of a loader that has ``state_dict``; without it, a run
    resumed inside an epoch would see the epoch's first batches again.
    """

    dataset: SequenceData
    #: Indices of each batch; never None, since a loader of single sequences is not used here.
    batch_sampler: Iterable[list[int]]
    _used = 0
    _resume_at: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over the batches that have not been used yet.

        Replaces torch's iterator, which draws from the global generator once per epoch: dropout
        would then depend on how often a run was resumed.
        """
        # Lightning creates the first iterator before it sets the epoch, so it is read only here.
        skip = self._batches_to_skip()
        self._used = skip
        for number, indices in enumerate(self.batch_sampler):
            if number >= skip:
                self._used = number + 1
                yield self.dataset.batch(indices)

    def _batches_to_skip(self) -> int:
        resume_at, self._resume_at = self._resume_at, None
        if resume_at is None or resume_at[0] != self._epoch:
            return 0
        return resume_at[1] % len(self)

    @property
    def _epoch(self) -> int:
        return getattr(self.sampler, "epoch", 0)

    def state_dict(self) -> dict[str, Any]:
        """The epoch and the number of its batches that have been used."""
        return {"epoch": self._epoch, "batches": self._used}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration over the epoch of ``state`` continue after its last batch."""
        self._resume_at = (state["epoch"], state["batches"])


def order_seed(seed: int) -> int:
    """A seed for DistributedSampler, which shuffles by seed + epoch: with the run's own seeds,
    successive seeds would share orders."""
    return int(np.random.SeedSequence(seed).generate_state(1)[0])


def evaluation_batches(size: int, batch_size: int, ranks: int, rank: int) -> list[list[int]]:
    """Indices of one rank's batches: each sequence is on one rank, and all ranks have the same
    number of batches.

    DDP broadcasts buffers in every forward pass, so the others would wait forever for a rank with
    one batch less. For the same number, batches may hold two sequences if ``batch_size`` is one.
    """
    if size < ranks:
        # Too few to divide, and no rank may be idle: every rank evaluates all, for the same mean.
        ranks, rank = 1, 0
    fewest, most = size // ranks, -(-size // ranks)
    number = min(-(-most // batch_size), fewest)
    share = np.arange(rank, size, ranks)
    return [part.tolist() for part in np.array_split(share, number)]
