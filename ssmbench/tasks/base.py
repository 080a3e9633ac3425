"""What a task is: sequences in three splits, a loss, metrics, and sizes known before loading.

A task author writes :meth:`Task.load` and the facts about the task; order, ranks, batches and
resuming are handled here, once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler
from torchmetrics import MetricCollection

from ssmbench.errors import UsageError
from ssmbench.tasks.digest import digest_of

Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class TaskSizes:
    """What a model must know of a task before any data is read.

    ``inputs``: channels of u. ``outputs``: classes, or channels of y. ``length``: L of a training
    sequence, in samples. ``per_step``: the prediction is (B, L, outputs); (B, outputs) otherwise.
    """

    inputs: int
    outputs: int
    length: int
    per_step: bool


class Sequences(TensorDataset):
    """Inputs u (n, L, inputs) float32 and their targets (n, ...), both wholly in memory."""

    def __init__(self, u: Float[Tensor, "n L inputs"], target: Shaped[Tensor, "n ..."]):
        super().__init__(u, target)
        self.u, self.target = u, target

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """One batch by one indexing of each tensor: torch's fetcher would collate samples."""
        chosen = torch.as_tensor(indices)
        return self.u[chosen], self.target[chosen]


@dataclass(frozen=True)
class Splits:
    """The three parts of a task's data."""

    train: Sequences
    val: Sequences
    test: Sequences


class Batches(DataLoader):
    """Batches of :class:`Sequences`, in the sampler's order, resumable between any two of them.

    Lightning saves and loads the state of a loader that has ``state_dict``; without it, a run
    resumed inside an epoch would see the epoch's first batches again.
    """

    _handed_out = 0
    _resume_at: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(u, target) batch by batch.

        Replaces torch's iterator, which draws from the global generator once an epoch and so
        would make dropout depend on how often a run was resumed.
        """
        # Lightning makes the first iterator before it sets the epoch: read the epoch lazily, here.
        skip = self._batches_to_skip()
        self._handed_out = skip
        for number, indices in enumerate(self.batch_sampler):
            if number >= skip:
                self._handed_out = number + 1
                yield self.dataset.__getitems__(indices)

    def _batches_to_skip(self) -> int:
        resume_at, self._resume_at = self._resume_at, None
        if resume_at is None or resume_at[0] != self._epoch:
            return 0
        return resume_at[1] % len(self)

    @property
    def _epoch(self) -> int:
        return getattr(self.sampler, "epoch", 0)

    def state_dict(self) -> dict[str, Any]:
        """The epoch and how many of its batches were handed out."""
        return {"epoch": self._epoch, "batches": self._handed_out}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Make the next iteration over ``state``'s epoch go on where it stopped."""
        self._resume_at = (state["epoch"], state["batches"])


class Task(pl.LightningDataModule, ABC):
    """A data module with a loss and metrics; built as ``factory(config, batch_size=, seed=)``.

    ``batch_size`` counts the sequences of one rank. The training order is a function of ``seed``
    and the epoch alone: the k-th batches of R ranks together are the k-th batch of one process
    with R times the batch size. Make the trainer with ``use_distributed_sampler=False``.
    """

    #: Name, in :meth:`metrics`, of the figure that ranks models on this task.
    score: str
    higher_is_better: bool
    #: Unit of the score: "" where it has none.
    unit: str = ""
    #: Ranks that share each sequence: together they are one reader of the data.
    ranks_per_sequence: int = 1
    #: Raise it when :meth:`load` makes other data of the same files and options.
    data_version: int = 1
    #: The digest that the data must have; "" where any will do.
    expected_digest: str = ""

    def __init__(self, config: Any, *, batch_size: int, seed: int):
        """Nothing is read here.

        Raises:
            UsageError: a batch size below one, a negative seed, or see :meth:`check`.
        """
        super().__init__()
        if batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, not {batch_size}")
        if seed < 0:
            raise UsageError(f"seed must not be negative, not {seed}")
        self.config = config
        self.batch_size = batch_size
        self.seed = seed
        self._splits: Splits | None = None
        self.check()

    def check(self) -> None:
        """Look at the settings, without reading anything.

        Raises:
            UsageError: settings that cannot be used, whatever the data are.
        """

    @property
    @abstractmethod
    def sizes(self) -> TaskSizes:
        """The sizes, known before loading."""

    @property
    @abstractmethod
    def source(self) -> str:
        """Where the data come from, in words, for the run's result."""

    def data_files(self) -> Sequence[Path]:
        """The files that :meth:`load` reads, as this machine has them; none by default.

        A task that reads files names them here: their contents are part of a run's identity.

        Raises:
            UsageError: they cannot be found.
        """
        return ()

    @property
    def data_digest(self) -> str:
        """16 hex digits of :attr:`data_version`, all options but ``data_dir``, and the contents of
        :meth:`data_files`: equal digests mean equal data. Raises what :meth:`data_files` raises.
        """
        options = asdict(self.config) if is_dataclass(self.config) else {"config": self.config}
        options.pop("data_dir", None)
        settings = {"task": type(self).__name__, "version": self.data_version, **options}
        return digest_of(settings, self.data_files())

    @abstractmethod
    def load(self) -> Splits:
        """Read or make the data; called once, and free of the global random generators.

        Raises:
            UsageError: the data, or a setting of the config, cannot be used.
        """

    @abstractmethod
    def loss(
        self, prediction: Float[Tensor, "B *steps outputs"], target: Shaped[Tensor, "B ..."]
    ) -> Float[Tensor, ""]:
        """Mean over the batch, so that the mean over ranks is the loss of their joint batch."""

    def augment(self, u: Float[Tensor, "B L inputs"]) -> Float[Tensor, "B L inputs"]:
        """What a training step sees in place of the inputs u; drawn anew in every step.

        Its randomness comes from torch's global generator, which is set for every batch.
        """
        return u

    @abstractmethod
    def metrics(self) -> MetricCollection:
        """Metrics with no state yet, for one split; :attr:`score` is among their names."""

    def to_metric(
        self, prediction: Float[Tensor, "B *steps outputs"], target: Shaped[Tensor, "B ..."]
    ) -> tuple[Tensor, Tensor]:
        """What :meth:`metrics` take, in the score's unit; as they are unless a task says else."""
        return prediction, target

    def setup(self, stage: str | None = None) -> None:
        """Load the data unless they are there already.

        Raises:
            UsageError: what :meth:`load` raises, or the data are not the expected ones.
        """
        if self._splits is None:
            self._check_digest()
            self._splits = self.load()
            self._check_digest()  # a file replaced while it was read

    def _check_digest(self) -> None:
        if self.expected_digest and self.data_digest != self.expected_digest:
            raise UsageError(
                f"the run's data have the digest {self.expected_digest}, those found now "
                f"{self.data_digest} ({self.source}): give it the data that it was started with"
            )

    def split(self, name: Split) -> Sequences:
        """The sequences of one split. Raises what :meth:`load` raises."""
        self.setup()
        return getattr(self._splits, name)

    def sample_inputs(
        self, split: Split = "val", n: int | None = None
    ) -> Float[Tensor, "n L inputs"]:
        """The first ``n`` inputs of a split, float32; all of them where None or where fewer."""
        return self.split(split).u[:n]

    def train_dataloader(self) -> Batches:
        """Shuffled batches of this rank; the tail that does not fill a batch is left out.

        Raises:
            UsageError: the ranks together ask for more sequences in a batch than there are.
        """
        data = self.split("train")
        ranks, rank = self._ranks()
        if self.batch_size * ranks > len(data):
            raise UsageError(
                f"batch_size {self.batch_size} on {ranks} rank(s) is more than the {len(data)}"
                " training sequences of the task"
            )
        sampler = DistributedSampler(
            data,
            num_replicas=ranks,
            rank=rank,
            shuffle=True,
            seed=_order_seed(self.seed),
            drop_last=True,
        )
        return Batches(data, batch_size=self.batch_size, sampler=sampler, drop_last=True)

    def val_dataloader(self) -> Batches:
        """This rank's share of the validation split, in order."""
        return self._evaluation_loader("val")

    def test_dataloader(self) -> Batches:
        """This rank's share of the test split, in order."""
        return self._evaluation_loader("test")

    def _evaluation_loader(self, name: Split) -> Batches:
        data = self.split(name)
        batches = _evaluation_batches(len(data), self.batch_size, *self._ranks())
        return Batches(data, batch_sampler=batches)

    def _ranks(self) -> tuple[int, int]:
        """How many readers there are, and which this is; alone before a trainer is attached."""
        if self.trainer is None:
            return 1, 0
        shared = self.ranks_per_sequence
        return self.trainer.world_size // shared, self.trainer.global_rank // shared


def _order_seed(seed: int) -> int:
    """DistributedSampler shuffles by seed + epoch: neighbouring seeds would share their orders."""
    return int(np.random.SeedSequence(seed).generate_state(1)[0])


def _evaluation_batches(size: int, batch_size: int, ranks: int, rank: int) -> list[list[int]]:
    """Indices of one rank's batches: each sequence on one rank, as many batches on every rank.

    DDP broadcasts buffers in every forward pass, so a rank with one batch less would leave the
    others waiting. To keep the number, batches may hold two where ``batch_size`` is one.
    """
    if size < ranks:
        # Too little to share, and none may be idle: all evaluate all, which keeps every mean.
        ranks, rank = 1, 0
    fewest, most = size // ranks, -(-size // ranks)
    number = min(-(-most // batch_size), fewest)
    share = np.arange(rank, size, ranks)
    return [part.tolist() for part in np.array_split(share, number)]
