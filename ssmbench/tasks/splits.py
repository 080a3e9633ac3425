"""The data of a task: sequences in splits that are loaded once, in batches of a reproducible order.

:meth:`TaskData.load` is the task author's; the order of sequences, ranks, batches and resuming are
handled here. What is asked of the sequences is in :mod:`ssmbench.tasks.base`.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from jaxtyping import Int, Shaped
from torch import Tensor

from ssmbench.errors import UsageError, require, suggest
from ssmbench.options import SEED
from ssmbench.spec import TaskSizes
from ssmbench.tasks.batch import Batch
from ssmbench.tasks.conditions import LENGTH_FACTOR, Conditions
from ssmbench.tasks.contract import check_splits
from ssmbench.tasks.digest import digest_of, identifying_options
from ssmbench.tasks.order import Batches, evaluation_batches, order_seed, training_order
from ssmbench.tasks.sequences import SequenceData, Splits, Varied

Kind = TypeVar("Kind", bound="TaskData")
Split = Literal["train", "val", "test"]


class Ranks(Protocol):
    """How many processes train together, and which of them this is; a Trainer of Lightning."""

    @property
    def world_size(self) -> int: ...

    @property
    def global_rank(self) -> int: ...


class TaskData(ABC):
    """Sequences in splits; built as ``factory(config, batch_size=, seed=)``.

    ``batch_size``: sequences in a batch of one rank. The training order depends only on ``seed``
    and the epoch: the k-th batches of R ranks together are the k-th batch of one process with R
    times the batch size.

    It knows nothing of Lightning, whose import takes as long as torch's: in training,
    ``ssmbench.training.data_module.DataModule`` hands its batches to a Trainer.
    """

    #: The ranks that train together, each on batches of its own; None of a single process.
    trainer: Ranks | None = None

    #: Whether batches are made in pinned memory: where a CUDA device takes them.
    pin_memory: bool = False

    #: Whether sequences of similar lengths come into a batch together, where lengths differ.
    bucket_by_length: bool = True
    #: The number of ranks that share each sequence; they are given the same batches.
    ranks_per_sequence: int = 1
    #: What the run adds to the task: samples that are dropped, and longer test sequences.
    conditions: Conditions = Conditions()
    #: Why :meth:`longer` has no sequences to give, as a clause; "" if it has.
    fixed_length_reason: str = "its sequences are as long as its data have them"
    #: To be increased when :meth:`load` gives different data for the same files and options.
    data_version: int = 1
    #: The digest that the data must have; "" if any is allowed.
    expected_digest: str = ""

    def __init__(self, config: Any, *, batch_size: int, seed: int):
        """No data are read here.

        Raises:
            UsageError: the batch size is below one, the seed is out of range, or :meth:`check`
                finds an error.
        """
        if batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, not {batch_size}")
        if not SEED.test(seed):
            raise UsageError(f"seed {SEED.problem(seed)}")
        self.config = config
        self.batch_size = batch_size
        self.seed = seed
        self._loaded: Splits | None = None
        self._splits: Splits | None = None
        self.check()

    def check(self) -> None:  # noqa: B027 - a task need not have any
        """Check the options without reading any data.

        Raises:
            UsageError: the options are invalid for any data.
        """

    @property
    @abstractmethod
    def sizes(self) -> TaskSizes:
        """The sizes, known before loading."""

    @property
    @abstractmethod
    def source(self) -> str:
        """Where the data come from, as a phrase for the run's result."""

    def data_files(self) -> Sequence[Path]:
        """The paths of the files that :meth:`load` reads; none by default.

        A task that reads files lists them here: their contents are part of a run's identity.

        Raises:
            UsageError: a file cannot be found.
        """
        return ()

    def data_facts(self) -> Mapping[str, Any]:
        """What else the data depend on, by name; nothing by default.

        For files that are too many to read for a digest: their names and sizes.
        """
        return {}

    @property
    def data_digest(self) -> str:
        """16 hex digits of :attr:`data_version`, all options but ``data_dir``, :meth:`data_facts`,
        and the contents of :meth:`data_files`: equal digests mean equal data. Raises what these
        raise. Options that were added later count where they do not have their defaults.
        """
        options = identifying_options(self.config)
        options.pop("data_dir", None)
        options |= self.data_facts()
        settings = {"task": type(self).__name__, "version": self.data_version, **options}
        return digest_of(settings, self.data_files())

    @abstractmethod
    def load(self) -> Splits:
        """Read or generate the data; called once. It must not use the global random generators.

        Raises:
            UsageError: the data, or a setting of the config, cannot be used.
        """

    def longer(self, factor: int) -> SequenceData:
        """Test sequences ``factor`` times as long as those of the test set; called after
        :meth:`load`. A task that defines it sets :attr:`fixed_length_reason` to "".

        Raises:
            UsageError: there are none.
        """
        raise UsageError(f"{type(self).__name__} has no longer ones: {self.fixed_length_reason}")

    def setup(self, stage: str | None = None) -> None:
        """Load the data unless they are loaded already.

        Raises:
            UsageError: :meth:`load` raises it, or the data do not have the expected digest.
        """
        if self._splits is None:
            self._check_digest()
            splits = self.load()
            self._check_digest()  # a file may have been replaced while it was read
            check_splits(type(self).load, self.sizes, splits)
            self._loaded = splits
            self._splits = self.conditions.applied(
                splits, self.longer, per_step=self.sizes.per_step
            )
            if self.conditions.length_factors:
                check_splits(type(self).longer, self.sizes, self._splits)

    def _check_digest(self) -> None:
        if self.expected_digest and self.data_digest != self.expected_digest:
            raise UsageError(
                f"the run was started with data of digest {self.expected_digest}, but the data "
                f"found now have the digest {self.data_digest} ({self.source}): provide the "
                "original data"
            )

    def unconditioned(self: Kind) -> Kind:
        """The same data, loaded if need be, without the conditions of the run."""
        self.setup()
        whole = copy.copy(self)
        whole._splits = self._loaded
        return whole

    @property
    def _conditioned(self) -> Splits:
        """The data, loaded if need be, under the conditions of the run."""
        self.setup()
        assert self._splits is not None
        return self._splits

    def split(self, name: str) -> SequenceData:
        """The sequences of ``train``, ``val`` or ``test``, or of one of the further test sets.

        Raises:
            UsageError: no split of this name, or what :meth:`load` raises.
        """
        splits = self._conditioned.by_name()
        require(name in splits, f"no split {name!r}; {suggest(name, splits)}")
        return splits[name]

    def further_tests(self) -> tuple[str, ...]:
        """Names of the test sets beside ``test``. Raises what :meth:`load` raises."""
        return tuple(self._conditioned.further)

    def varied(self) -> Mapping[str, Varied]:
        """In what test sets beside ``test`` differ from it in one quantity, by name."""
        return self._conditioned.varied

    def sample(self, split: str = "val", n: int | None = None) -> Batch:
        """The first ``n`` sequences of a split as one batch; all of them if None."""
        data = self.split(split)
        return data.batch(range(len(data) if n is None else min(n, len(data))))

    def sample_inputs(self, split: str = "val", n: int | None = None) -> Shaped[Tensor, "n ..."]:
        """The inputs u of :meth:`sample`."""
        return self.sample(split, n).u

    def batches(self, split: str) -> Iterator[Batch]:
        """All sequences of a split in order, ``batch_size`` at a time."""
        data = self.split(split)
        for first in range(0, len(data), self.batch_size):
            yield data.batch(range(first, min(first + self.batch_size, len(data))))

    def train_dataloader(self) -> Batches:
        """Shuffled batches of this rank; sequences that do not fill a last batch are left out.

        Raises:
            UsageError: a batch of all ranks has more sequences than the training split.
        """
        data = self.split("train")
        ranks, rank = self._ranks()
        if self.batch_size * ranks > len(data):
            raise UsageError(
                f"batch_size {self.batch_size} on {ranks} rank(s) is more than the {len(data)}"
                " training sequences of the task"
            )
        sampler = training_order(
            data, self._lengths(data), self.batch_size, ranks, rank, order_seed(self.seed)
        )
        return Batches(
            data,
            batch_size=self.batch_size,
            sampler=sampler,
            drop_last=True,
            pin_memory=self.pin_memory,
        )

    def _lengths(self, data: SequenceData) -> Int[np.ndarray, " n"] | None:
        return data.lengths if self.bucket_by_length else None

    def val_dataloader(self) -> Batches:
        """This rank's share of the validation split, in order."""
        return self._evaluation_loader("val")

    def test_dataloader(self) -> Batches:
        """This rank's share of the test split, in order."""
        return self._evaluation_loader("test")

    def loader(self, split: str) -> Batches:
        """This rank's share of a split, in order; ``split`` as in :meth:`split`."""
        return self._evaluation_loader(split)

    def _evaluation_loader(self, name: str) -> Batches:
        data = self.split(name)
        lengths, varied = self._lengths(data), self.varied().get(name, Varied("", 1.0))
        longer = varied.value if varied.quantity == LENGTH_FACTOR else 1
        size = max(1, int(self.batch_size // longer))
        batches = evaluation_batches(len(data), size, *self._ranks(), lengths)
        return Batches(data, batch_sampler=batches, pin_memory=self.pin_memory)

    def _ranks(self) -> tuple[int, int]:
        """The number of ranks that read different data, and the index of this one."""
        if self.trainer is None:
            return 1, 0
        shared = self.ranks_per_sequence
        return self.trainer.world_size // shared, self.trainer.global_rank // shared
