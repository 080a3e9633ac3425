"""Conformance checks of a task: independence of the seed, order of batches, ranks and resuming.

The order is checked without reading the sequences, since it depends on their number only.
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
from ssmbench.tasks.base import Task
from ssmbench.tasks.batch import Batch
from ssmbench.tasks.order import Batches
from ssmbench.tasks.sequences import SequenceData
from ssmbench.tasks.splits import Split
from ssmbench.testing.report import CheckFunction, Subject, skip_unless
from ssmbench.testing.task_batches import SPLITS, loaded_task


def data_do_not_depend_on_the_seed(subject: Subject) -> None:
    """The data are the same for every seed, and a batch is the same each time it is read."""
    one = loaded_task(subject)
    other = subject.build(batch_size=2, seed=1)
    for split in SPLITS:
        first, second = one.split(split), other.split(split)
        assert len(first) == len(second), f"{split}: the seed changes the number of sequences"
        indices = range(min(len(first), 16))
        given = first.batch(indices)
        assert _same(given, second.batch(indices)), f"{split}: the seed changes the data"
        assert _same(given, first.batch(indices)), (
            f"{split}: reading a batch twice gives different data"
        )


def global_random_state_is_unchanged(subject: Subject) -> None:
    """Loading and batching draw no numbers from torch's global generator."""
    before = torch.get_rng_state()
    task = subject.build(batch_size=2, seed=0)
    for split in SPLITS:
        next(iter(_loader(task, split)))
    assert torch.equal(before, torch.get_rng_state()), "loading draws from torch's global generator"


def digest_is_stable(subject: Subject) -> None:
    """Two instances have the same digest of their data: 16 hexadecimal digits."""
    digests = {subject.build(batch_size=2, seed=seed).data_digest for seed in (0, 1)}
    assert len(digests) == 1, f"two instances have different digests: {', '.join(sorted(digests))}"
    (digest,) = digests
    assert re.fullmatch("[0-9a-f]{16}", digest), (
        f"the digest must have 16 hexadecimal digits; it is {digest!r}"
    )


def can_be_pickled(subject: Subject) -> None:
    """It can be pickled before its data are loaded, as worker processes require."""
    task = subject.build(batch_size=2, seed=0)
    assert pickle.loads(pickle.dumps(task)).sizes == task.sizes, "pickling changes sizes"


def setup_loads_once(subject: Subject) -> None:
    """A second call of ``setup`` does not load the data again."""
    task = loaded_task(subject)
    data = task.split("train")
    task.setup("test")
    assert task.split("train") is data, "a second call of setup loads the data again"


def sample_is_the_first_sequences(subject: Subject) -> None:
    """``sample(split, n)`` returns the first n sequences."""
    task = loaded_task(subject)
    for split in SPLITS:
        data = task.split(split)
        number = min(3, len(data))
        same = _same(task.sample(split, 3), data.batch(range(number)))
        assert same, f"{split}: sample does not return the first sequences"


def order_depends_on_seed_and_epoch(subject: Subject) -> None:
    """The training order is the same for equal seed and epoch, and differs otherwise."""
    number = len(loaded_task(subject).split("train"))
    skip_unless(number >= 16, "it has fewer than 16 training sequences")
    first = _order(subject, seed=3, epoch=5)
    assert first == _order(subject, seed=3, epoch=5), (
        "the order differs for the same seed and epoch"
    )
    # Epoch e of seed s must not be epoch e + 1 of seed s - 1, as it is if they are added.
    for seed, epoch in ((3, 6), (2, 6), (4, 4)):
        assert first != _order(subject, seed=seed, epoch=epoch), (
            f"seed {seed}, epoch {epoch} has the same order as seed 3, epoch 5"
        )


def ranks_partition_a_batch(subject: Subject) -> None:
    """The k-th batches of two ranks together are the k-th batch of one process."""
    size = _batch_size(subject)
    skip_unless(size >= 2, "it has only one training sequence")
    alone = _order(subject, batch_size=size // 2 * 2, epoch=2)
    shares = [_order(subject, batch_size=size // 2, epoch=2, ranks=2, rank=rank) for rank in (0, 1)]
    joint = [sorted(first + second) for first, second in zip(*shares, strict=True)]
    assert joint == [sorted(batch) for batch in alone], (
        "the batches of two ranks differ from those of one process"
    )


def every_sequence_is_evaluated_once(subject: Subject) -> None:
    """Validation and test use every sequence once, on one, two or three ranks; if there are fewer
    sequences than ranks, once on each rank.
    """
    for split in ("val", "test"):
        number = len(loaded_task(subject).split(split))
        for ranks in (1, 2, 3):
            shares = [_order(subject, split, ranks=ranks, rank=rank) for rank in range(ranks)]
            seen = sorted(index for share in shares for batch in share for index in batch)
            times = ranks if number < ranks else 1
            expected = sorted([*range(number)] * times)
            assert seen == expected, f"{split}: on {ranks} ranks, not every sequence is used once"


def resumes_within_an_epoch(subject: Subject) -> None:
    """A loader that is given the state of an interrupted one continues with the next batch."""
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
    assert found == whole, "a resumed epoch differs from an uninterrupted one"
    _set_epoch(resumed, 2)
    assert [batch.u.tolist() for batch in resumed] == after, "the epoch after a resumed one differs"


def resumes_after_a_finished_epoch(subject: Subject) -> None:
    """A loader that is given the state of a finished epoch starts at the first batch."""
    loader = _ordered(subject).train_dataloader()
    number = len(list(loader))
    resumed = _ordered(subject).train_dataloader()
    resumed.load_state_dict(loader.state_dict())
    assert len(list(resumed)) == number, "batches are skipped after a finished epoch"


def rejects_invalid_settings(subject: Subject) -> None:
    """A batch size of 0, one above the size of the training split and a negative seed raise a
    UsageError of one line.
    """
    too_large = _ordered(subject, batch_size=10**9)
    for setting, attempt in {
        "a batch size above the number of training sequences": too_large.train_dataloader,
        "batch_size=0": lambda: subject.build(batch_size=0, seed=0),
        "seed=-1": lambda: subject.build(batch_size=1, seed=-1),
    }.items():
        message = _usage_error(attempt)
        assert message, f"{setting} is accepted"
        assert "\n" not in message, f"the message for {setting} has more than one line: {message}"


ORDER_CHECKS: tuple[CheckFunction, ...] = (
    data_do_not_depend_on_the_seed,
    global_random_state_is_unchanged,
    digest_is_stable,
    can_be_pickled,
    setup_loads_once,
    sample_is_the_first_sequences,
    order_depends_on_seed_and_epoch,
    ranks_partition_a_batch,
    every_sequence_is_evaluated_once,
    resumes_within_an_epoch,
    resumes_after_a_finished_epoch,
    rejects_invalid_settings,
)


# --- helpers ------------------------------------------------------------------------------------


class _Indices(SequenceData):
    """Stands for a split of ``number`` sequences: a batch contains the indices themselves."""

    def __init__(self, number: int):
        self.number = number

    def __len__(self) -> int:
        return self.number

    def batch(self, indices: Sequence[int]) -> Batch:
        values = torch.as_tensor(indices)
        return Batch(values, values)


def _ordered(
    subject: Subject, *, batch_size: int = 0, seed: int = 0, ranks: int = 1, rank: int = 0
) -> Task:
    """The task on one of several ranks, with the indices of the sequences as its data."""
    data = loaded_task(subject)
    task = subject.build(batch_size=batch_size or _batch_size(subject), seed=seed)
    indices = {name: _Indices(len(data.split(name))) for name in SPLITS}

    def split(name: Split) -> SequenceData:
        return indices[name]

    task.split = split
    task.trainer = SimpleNamespace(world_size=ranks, global_rank=rank)
    return task


def _batch_size(subject: Subject) -> int:
    """A batch size at which the training split has several batches, if it has enough sequences."""
    return max(1, min(8, len(loaded_task(subject).split("train")) // 4))


def _order(
    subject: Subject, split: Split = "train", *, epoch: int = 0, **options: int
) -> list[list[int]]:
    """The indices of the sequences in each batch."""
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


def _usage_error(attempt: Callable[[], Any]) -> str:
    """The message of the UsageError that ``attempt`` raises; "" if it raises none."""
    try:
        attempt()
    except UsageError as error:
        return str(error)
    return ""
