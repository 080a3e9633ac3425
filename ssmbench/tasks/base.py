"""What a task is: sequences in three splits, a loss, metrics, and sizes known before loading.

The author of a task writes :meth:`Task.load`, the loss, the metrics and the sizes; the order of
sequences, ranks, batches and resuming are handled here.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torchmetrics import MetricCollection

from ssmbench.augmentations.base import Augmentation, Signals, augmented
from ssmbench.errors import UsageError, require, suggest
from ssmbench.options import SEED
from ssmbench.results import PublishedScore
from ssmbench.spec import TaskSizes
from ssmbench.tasks.baselines import Predictor
from ssmbench.tasks.batch import Batch
from ssmbench.tasks.cache import Arrays, cached_arrays
from ssmbench.tasks.conditions import LENGTH_FACTOR, Conditions
from ssmbench.tasks.contract import check_splits
from ssmbench.tasks.digest import digest_of, identifying_options
from ssmbench.tasks.order import Batches, evaluation_batches, order_seed, training_order
from ssmbench.tasks.published import PublishedData
from ssmbench.tasks.sequences import SequenceData, Splits, Varied
from ssmbench.tasks.smoothing import uniform_cross_entropy

Split = Literal["train", "val", "test"]

#: Raise it when the scores of equal baselines on equal data change.
_BASELINES_VERSION = 2


class Task(pl.LightningDataModule, ABC):
    """A data module with a loss and metrics; built as ``factory(config, batch_size=, seed=)``.

    ``batch_size``: sequences in a batch of one rank. The training order depends only on ``seed``
    and the epoch: the k-th batches of R ranks together are the k-th batch of one process with R
    times the batch size. The trainer must be built with ``use_distributed_sampler=False``.
    """

    #: The name in :meth:`metrics` of the metric by which models are ranked.
    score: str
    higher_is_better: bool
    #: The unit of the score; "" if it has none.
    unit: str = ""
    #: Whether sequences of similar lengths come into a batch together, where lengths differ.
    bucket_by_length: bool = True
    #: The number of ranks that share each sequence; they are given the same batches.
    ranks_per_sequence: int = 1
    #: What the run adds to the task: samples that are dropped, and longer test sequences.
    conditions: Conditions = Conditions()
    #: Why no samples may be dropped, where the input is a signal; "" if they may.
    undroppable_reason: ClassVar[str] = ""
    #: Why :meth:`longer` has no sequences to give, as a clause; "" if it has.
    fixed_length_reason: str = "its sequences are as long as its data have them"
    #: To be increased when :meth:`load` gives different data for the same files and options.
    data_version: int = 1
    #: The published data that the task reads, for ``ssmbench data``; None of bundled and generated.
    published: ClassVar[PublishedData | None] = None
    #: Whether targets are classes, and predictions their logits. Most changes of a signal keep the
    #: class of a sequence right.
    classifies: ClassVar[bool] = False
    #: The changes of training batches that the run's config asks for, in their order.
    augmentations: Sequence[Augmentation] = ()
    #: How much of a class's probability the training loss asks of all classes alike.
    label_smoothing: float = 0.0
    #: A package without which the task cannot be loaded; "" if it needs none but ssmbench's own.
    requires: ClassVar[str] = ""
    #: The digest that the data must have; "" if any is allowed.
    expected_digest: str = ""

    def __init__(self, config: Any, *, batch_size: int, seed: int):
        """No data are read here.

        Raises:
            UsageError: the batch size is below one, the seed is out of range, or :meth:`check`
                finds an error.
        """
        super().__init__()
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

    def check(self) -> None:
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

    @classmethod
    def tiny(cls, folder: Path) -> Mapping[str, Any]:
        """Options of a form of the task that is loaded in seconds, for tests of it.

        A task that needs files writes a few with random contents into ``folder``, laid out as
        published, and gives that as ``data_dir``. The defaults where a task is small already.
        """
        return {}

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

    @abstractmethod
    def loss(
        self, prediction: Float[Tensor, "n outputs"], target: Shaped[Tensor, "n ..."]
    ) -> Float[Tensor, ""]:
        """The mean loss over n sequences, or over n steps of all sequences of a batch.

        Padding and steps that are not scored have been removed (:meth:`Batch.scored`).
        """

    def batch_loss(
        self, prediction: Float[Tensor, "B *steps outputs"], batch: Batch
    ) -> Float[Tensor, ""]:
        """The loss of a batch."""
        return self.loss(*batch.scored(prediction))

    def training_loss(
        self, prediction: Float[Tensor, "B *steps outputs"], batch: Batch
    ) -> Float[Tensor, ""]:
        """The loss that a training step lowers: :meth:`batch_loss`, and with ``label_smoothing`` s
        (1 - s) of it and s times the mean of -log p over all classes (C. Szegedy et al., CVPR 2016,
        arXiv 1512.00567, section 7). Validation and test have :meth:`batch_loss`.
        """
        loss, share = self.batch_loss(prediction, batch), self.label_smoothing
        if share == 0:
            return loss
        return (1 - share) * loss + share * uniform_cross_entropy(*batch.scored(prediction))

    def augment(self, batch: Batch) -> Batch:
        """The batch that a training step uses in place of ``batch``, drawn in every step.

        For changes that only this task knows; those of the run's ``augment`` follow. Random numbers
        must come from torch's global generator, which is seeded for every batch.
        """
        return batch

    def augmented(self, batch: Batch) -> Batch:
        """``batch`` after :meth:`augment` and the augmentations.

        Raises:
            PluginError: an augmentation returns signals of another form.
        """
        batch = self.augment(batch)
        for augmentation in self.augmentations:
            signals = augmented(augmentation, Signals(batch.u, batch.lengths, batch.dt))
            batch = batch._replace(**signals._asdict())
        return batch

    def training_batch(self, batch: Batch, place: tuple[int, ...]) -> Batch:
        """The batch of a training step: :meth:`augmented`, then the :attr:`conditions`.

        ``place``: whole numbers that name the step; it draws the same samples whenever it is made.
        """
        random = np.random.default_rng(place)
        return self.conditions.train_batch(self.augmented(batch), random, self.sizes.per_step)

    @abstractmethod
    def metrics(self) -> MetricCollection:
        """New metrics for one split; one of them has the name :attr:`score`."""

    def to_metric(
        self, prediction: Float[Tensor, "n outputs"], target: Shaped[Tensor, "n ..."]
    ) -> tuple[Tensor, Tensor]:
        """The prediction and the target as :meth:`metrics` take them, in the unit of the score;
        unchanged by default. n as in :meth:`loss`.
        """
        return prediction, target

    def batch_metric(
        self, prediction: Float[Tensor, "B *steps outputs"], batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """The prediction and the target of a batch as :meth:`metrics` take them."""
        return self.to_metric(*batch.scored(prediction))

    def baselines(self) -> Mapping[str, Predictor]:
        """Predictors by name that use none, or next to none, of what the task is about.

        They are given all samples, also where the run drops some. Their scores are printed beside
        every model's. Called after :meth:`setup`, so that the training split can be used; see
        :mod:`ssmbench.tasks.baselines`.
        """
        return {}

    def baseline_scores(self) -> dict[str, float]:
        """The test scores of :meth:`baselines`; those of a built-in task are computed once for its
        data and kept on disk. A plugin's code may have changed, so its scores are computed anew.

        Raises:
            UsageError: what :meth:`load` raises.
        """
        if type(self).__module__.partition(".")[0] != __name__.partition(".")[0]:
            return {name: float(score) for name, score in self._score_baselines().items()}
        settings = {"data": self.data_digest, "metric": self.score, "version": _BASELINES_VERSION}
        scores = cached_arrays(f"baselines-{type(self).__name__}", settings, self._score_baselines)
        return {name: float(score) for name, score in scores.items()}

    def _score_baselines(self) -> Arrays:
        self.setup()
        whole = copy.copy(self)
        whole._splits = self._loaded
        predictors = whole.baselines()
        return {name: np.array(whole.score_of(predict)) for name, predict in predictors.items()}

    def published_scores(self) -> Sequence[PublishedScore]:
        """Scores that publications report on this test data; none by default.

        A task gives them only where its options are those of the publications: what the task is
        asked, and what it is tested on. Reports print them apart from the scores of runs. They
        decide nothing, so they are no part of a run's identity.

        Raises:
            UsageError: the data files, on which this may depend, cannot be found.
        """
        return ()

    def score_of(self, predict: Predictor, split: str = "test") -> float:
        """The score of a function from a batch to what a network would predict for it."""
        metrics = self.metrics()
        for batch in self.batches(split):
            metrics.update(*self.batch_metric(predict(batch), batch))
        return float(metrics.compute()[self.score])

    def batches(self, split: str) -> Iterator[Batch]:
        """All sequences of a split in order, ``batch_size`` at a time."""
        data = self.split(split)
        for first in range(0, len(data), self.batch_size):
            yield data.batch(range(first, min(first + self.batch_size, len(data))))

    def scored_targets(self, split: str) -> Shaped[Tensor, "n ..."]:
        """What the loss is given of a split: the targets of all sequences, or per step those of
        all scored steps in a row."""
        steps = self.sizes.per_step
        shapes = ((b, (b.size, *(b.u.shape[1:2] if steps else ()), 1)) for b in self.batches(split))
        return torch.cat([batch.scored(torch.empty(shape))[1] for batch, shape in shapes])

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
        return Batches(data, batch_size=self.batch_size, sampler=sampler, drop_last=True)

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
        return Batches(data, batch_sampler=batches)

    def _ranks(self) -> tuple[int, int]:
        """The number of ranks that read different data, and the index of this one."""
        if self.trainer is None:
            return 1, 0
        shared = self.ranks_per_sequence
        return self.trainer.world_size // shared, self.trainer.global_rank // shared
