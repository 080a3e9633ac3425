"""Which sequences form each batch: shuffled for training, divided among ranks, resumable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Int
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from ssmbench.tasks.batch import Batch
from ssmbench.tasks.sequences import SequenceData

#: Batches that are sorted by length together: fewer mix lengths better, more leave less padding.
_BUCKET = 50


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
                batch = self.dataset.batch(indices)
                yield batch.pin_memory() if self.pin_memory else batch

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


class LengthBuckets(DistributedSampler):
    """A training order in which a batch's sequences have similar lengths, so that less is padding.

    Shuffled sequences are sorted by length within runs of ``_BUCKET`` batches, and the batches are
    shuffled again. As in the plain order, batch k of R ranks together is batch k of one process
    with R times the batch size, and the tail that does not fill a batch is left out.
    """

    def __init__(
        self,
        data: SequenceData,
        lengths: Int[np.ndarray, " n"],
        *,
        batch_size: int,
        ranks: int,
        rank: int,
        seed: int,
    ):
        super().__init__(data, num_replicas=ranks, rank=rank, seed=seed, drop_last=True)
        self.lengths, self.joint_size = lengths, batch_size * ranks

    def __iter__(self) -> Iterator[int]:
        """Indices of this rank's sequences, for the epoch that was set."""
        random = np.random.default_rng((self.seed, self.epoch))
        batches = len(self.lengths) // self.joint_size
        order = random.permutation(len(self.lengths))[: batches * self.joint_size]
        runs = np.split(
            order, range(_BUCKET * self.joint_size, len(order), _BUCKET * self.joint_size)
        )
        ordered = [part[np.argsort(self.lengths[part], kind="stable")] for part in runs]
        joint = np.concatenate(ordered).reshape(batches, self.joint_size)
        joint = joint[random.permutation(batches)]
        return iter(joint[:, self.rank :: self.num_replicas].flatten().tolist())

    def __len__(self) -> int:
        return len(self.lengths) // self.joint_size * (self.joint_size // self.num_replicas)


def training_order(
    data: SequenceData,
    lengths: Int[np.ndarray, " n"] | None,
    batch_size: int,
    ranks: int,
    rank: int,
    seed: int,
) -> DistributedSampler[Batch]:
    """The shuffled order of one rank; where ``lengths`` are given, by :class:`LengthBuckets`."""
    if lengths is None:
        return DistributedSampler(
            data, num_replicas=ranks, rank=rank, shuffle=True, seed=seed, drop_last=True
        )
    return LengthBuckets(data, lengths, batch_size=batch_size, ranks=ranks, rank=rank, seed=seed)


def order_seed(seed: int) -> int:
    """A seed for DistributedSampler, which shuffles by seed + epoch: with the run's own seeds,
    successive seeds would share orders."""
    return int(np.random.SeedSequence(seed).generate_state(1)[0])


def evaluation_batches(
    size: int,
    batch_size: int,
    ranks: int,
    rank: int,
    lengths: Int[np.ndarray, " n"] | None = None,
) -> list[list[int]]:
    """Indices of one rank's batches: each sequence is on one rank, and all ranks have the same
    number of batches.

    In order, or by length where ``lengths`` are given, so that less of a batch is padding.

    DDP broadcasts buffers in every forward pass, so the others would wait forever for a rank with
    one batch less. For the same number, batches may hold two sequences if ``batch_size`` is one.
    """
    if size < ranks:
        # Too few to divide, and no rank may be idle: every rank evaluates all, for the same mean.
        ranks, rank = 1, 0
    fewest, most = size // ranks, -(-size // ranks)
    number = min(-(-most // batch_size), fewest)
    order = np.arange(size) if lengths is None else np.argsort(lengths, kind="stable")
    share = order[rank::ranks]
    return [part.tolist() for part in np.array_split(share, number)]
