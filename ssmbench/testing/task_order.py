"""Checks of a task: the same data for every seed, their order, their ranks, and resuming.

The order of a task's sequences is checked without reading them: it is a matter of their number.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

from ssmbench.errors import UsageError
from ssmbench.tasks.base import Split, Task
from ssmbench.tasks.batch import Batch
from ssmbench.tasks.order import Batches
from ssmbench.tasks.sequences import SequenceData
from ssmbench.testing.report import CheckFunction, Subject, skip_unless
from ssmbench.testing.task_batches import SPLITS, loaded_task


def data_do_not_depend_on_the_seed(subject: Subject) -> None:
    """Two runs of different seeds see the same data, and the same batch twice is the same."""
    one = loaded_task(subject)
    other = subject.build(batch_size=2, seed=1)
    for split in SPLITS:
        first, second = one.split(split), other.split(split)
        assert len(first) == len(second), f"{split}: the seed changes the number of sequences"
        places = range(min(len(first), 16))
        given = first.batch(places)
        assert _same(given, second.batch(places)), f"{split}: the seed changes the data"
        assert _same(given, first.batch(places)), f"{split}: the same batch twice differs"


def global_random_state_is_left_alone(subject: Subject) -> None:
    """Loading and batching draw nothing from torch's global generator."""
    before = torch.get_rng_state()
    task = subject.build(batch_size=2, seed=0)
    for split in SPLITS:
        next(iter(_loader(task, split)))
    assert torch.equal(before, torch.get_rng_state()), "loading draws from the global generator"


def digest_is_stable(subject: Subject) -> None:
    """Two instances have one digest of their data, of 16 hex digits."""
    digests = {subject.build(batch_size=2, seed=seed).data_digest for seed in (0, 1)}
    assert len(digests) == 1, f"two instances have the digests {', '.join(sorted(digests))}"
    (digest,) = digests
    assert re.fullmatch("[0-9a-f]{16}", digest), f"the digest is {digest!r}"


def can_be_sent_to_another_process(subject: Subject) -> None:
    """It can be pickled before its data are loaded."""
    task = subject.build(batch_size=2, seed=0)
    assert pickle.loads(pickle.dumps(task)).sizes == task.sizes, "pickling changes its sizes"


def setup_loads_once(subject: Subject) -> None:
    """Setting it up again does not load the data again."""
    task = loaded_task(subject)
    data = task.split("train")
    task.setup("test")
    assert task.split("train") is data, "setup loads the data again"


def sample_is_the_beginning(subject: Subject) -> None:
    """A sample of a split is its first sequences."""
    task = loaded_task(subject)
    for split in SPLITS:
        data = task.split(split)
        number = min(3, len(data))
        assert _same(task.sample(split, 3), data.batch(range(number))), f"{split}: another sample"


def order_follows_from_seed_and_epoch(subject: Subject) -> None:
    """The order of training is a function of the seed and the epoch, and of nothing else."""
    number = len(loaded_task(subject).split("train"))
    skip_unless(number >= 16, "it has fewer than 16 training sequences")
    first = _order(subject, seed=3, epoch=5)
    assert first == _order(subject, seed=3, epoch=5), "the same seed and epoch in another order"
    # Neighbouring seeds must not have each other's epochs, one later.
    for seed, epoch in ((3, 6), (2, 6), (4, 4)):
        assert first != _order(subject, seed=seed, epoch=epoch), "two epochs in one order"


def ranks_partition_a_batch(subject: Subject) -> None:
    """The k-th batches of two ranks together are the k-th batch of one process."""
    size = _batch_size(subject)
    skip_unless(size >= 2, "it has one training sequence")
    alone = _order(subject, batch_size=size // 2 * 2, epoch=2)
    shares = [_order(subject, batch_size=size // 2, epoch=2, ranks=2, rank=rank) for rank in (0, 1)]
    joint = [sorted(first + second) for first, second in zip(*shares, strict=True)]
    assert joint == [sorted(batch) for batch in alone], "two ranks see other batches than one"


def every_sequence_is_evaluated_once(subject: Subject) -> None:
    """On one, two or three ranks, validation and test see every sequence once; with fewer
    sequences than ranks, once on each."""
    for split in ("val", "test"):
        number = len(loaded_task(subject).split(split))
        for ranks in (1, 2, 3):
            shares = [_order(subject, split, ranks=ranks, rank=rank) for rank in range(ranks)]
            seen = sorted(index for share in shares for batch in share for index in batch)
            times = ranks if number < ranks else 1
            expected = sorted([*range(number)] * times)
            assert seen == expected, f"{split}: not every sequence once on {ranks} ranks"


def resumes_within_an_epoch(subject: Subject) -> None:
    """A loader with the state of an interrupted one goes on where that stopped."""
    whole, after = _order(subject, epoch=1), _order(subject, epoch=2)
    loader = _ordered(subject).train_dataloader()
    _set_epoch(loader, 1)
    rest = iter(loader)
    stop = len(whole) // 2
    before = [next(rest).u.tolist() for _ in range(stop)]
    resumed = _ordered(subject).train_dataloader()
    resumed.load_state_dict(loader.state_dict())
    rest = iter(resumed)
    _set_epoch(resumed, 1)  # as Lightning does it: after it made the iterator
    found = before + [batch.u.tolist() for batch in rest]
    assert found == whole, "a resumed epoch differs from one that was not interrupted"
    _set_epoch(resumed, 2)
    assert [batch.u.tolist() for batch in resumed] == after, "the epoch after it differs"


def finished_epoch_skips_nothing(subject: Subject) -> None:
    """The state of a finished epoch lets the next one begin at its first batch."""
    loader = _ordered(subject).train_dataloader()
    number = len(list(loader))
    resumed = _ordered(subject).train_dataloader()
    resumed.load_state_dict(loader.state_dict())
    assert len(list(resumed)) == number, "batches are left out after a finished epoch"


def refuses_what_it_cannot_do(subject: Subject) -> None:
    """A batch larger than the training split, no batch, and a negative seed are UsageErrors."""
    too_large = _ordered(subject, batch_size=10**9)
    for attempt in (
        too_large.train_dataloader,
        lambda: subject.build(batch_size=0, seed=0),
        lambda: subject.build(batch_size=1, seed=-1),
    ):
        refusal = _refusal(attempt)
        assert refusal, "a batch size or a seed that cannot be used is accepted"
        assert "\n" not in refusal, f"a refusal of more than one line: {refusal}"


ORDER_CHECKS: tuple[CheckFunction, ...] = (
    data_do_not_depend_on_the_seed,
    global_random_state_is_left_alone,
    digest_is_stable,
    can_be_sent_to_another_process,
    setup_loads_once,
    sample_is_the_beginning,
    order_follows_from_seed_and_epoch,
    ranks_partition_a_batch,
    every_sequence_is_evaluated_once,
    resumes_within_an_epoch,
    finished_epoch_skips_nothing,
    refuses_what_it_cannot_do,
)


# --- parts of checks ------------------------------------------------------------------------------


class _Places(SequenceData):
    """Stands for a split: its batches are the places that were asked for."""

    def __init__(self, number: int):
        self.number = number

    def __len__(self) -> int:
        return self.number

    def batch(self, indices: Sequence[int]) -> Batch:
        places = torch.as_tensor(indices)
        return Batch(places, places)


def _ordered(
    subject: Subject, *, batch_size: int = 0, seed: int = 0, ranks: int = 1, rank: int = 0
) -> Task:
    """A task on one of several ranks, whose batches are the places of their sequences."""
    data = loaded_task(subject)
    task = subject.build(batch_size=batch_size or _batch_size(subject), seed=seed)
    places = {name: _Places(len(data.split(name))) for name in SPLITS}

    def split(name: Split) -> SequenceData:
        return places[name]

    task.split = split
    task.trainer = SimpleNamespace(world_size=ranks, global_rank=rank)
    return task


def _batch_size(subject: Subject) -> int:
    """A size of which the training split makes several batches, if it has the sequences."""
    return max(1, min(8, len(loaded_task(subject).split("train")) // 4))


def _order(
    subject: Subject, split: Split = "train", *, epoch: int = 0, **options: int
) -> list[list[int]]:
    """The places of the sequences of each batch."""
    loader = _loader(_ordered(subject, **options), split)
    if split == "train":
        _set_epoch(loader, epoch)
    return [batch.u.tolist() for batch in loader]


def _set_epoch(loader: Batches, epoch: int) -> None:
    assert isinstance(loader.sampler, DistributedSampler), "the training loader has no epochs"
    loader.sampler.set_epoch(epoch)


def _loader(task: Task, split: Split) -> Batches:
    return getattr(task, f"{split}_dataloader")()


def _same(one: Batch, other: Batch) -> bool:
    return all(map(_equal, one, other))


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return torch.equal(one, other)


def _refusal(attempt: Callable[[], Any]) -> str:
    """The UsageError that an attempt ends with; nothing where it does not."""
    try:
        attempt()
    except UsageError as error:
        return str(error)
    return ""
