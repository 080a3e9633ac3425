"""What a task is: sequences in three splits, a loss, metrics, and sizes known before loading.

The author of a task writes ``load``, the loss, the metrics and the sizes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ssmbench.augmentations.base import Augmentation, Signals, augmented
from ssmbench.results import PublishedScore
from ssmbench.tasks.baselines import Predictor
from ssmbench.tasks.batch import Batch
from ssmbench.tasks.cache import Arrays, cached_arrays
from ssmbench.tasks.published import PublishedData
from ssmbench.tasks.smoothing import uniform_cross_entropy
from ssmbench.tasks.splits import TaskData

if TYPE_CHECKING:  # slow: a task is described without its metrics
    from torchmetrics import MetricCollection

#: Raise it when the scores of equal baselines on equal data change.
_BASELINES_VERSION = 2


class Task(TaskData):
    """Sequences (:class:`TaskData`) with a loss and metrics of the predictions for them."""

    #: The name in :meth:`metrics` of the metric by which models are ranked.
    score: str
    higher_is_better: bool
    #: The unit of the score; "" if it has none.
    unit: str = ""
    #: Why no samples may be dropped, where the input is a signal; "" if they may.
    undroppable_reason: ClassVar[str] = ""
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

    @classmethod
    def tiny(cls, folder: Path) -> Mapping[str, Any]:
        """Options of a form of the task that is loaded in seconds, for tests of it.

        A task that needs files writes a few with random contents into ``folder``, laid out as
        published, and gives that as ``data_dir``. The defaults where a task is small already.
        """
        return {}

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
        return self.conditions.train_batch(self.augmented(batch), place, self.sizes.per_step)

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

    def output_scales(self) -> Float[Tensor, " outputs"] | None:
        """How many units of :meth:`to_metric` one unit of each of the network's outputs is, where
        that is a scaling and a shift of each; None where it is not known."""
        plain = type(self).to_metric is Task.to_metric
        return torch.ones(self.sizes.outputs) if plain else None

    def batch_metric(
        self, prediction: Float[Tensor, "B *steps outputs"], batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """The prediction and the target of a batch as :meth:`metrics` take them."""
        return self.to_metric(*batch.scored(prediction))

    def baselines(self) -> Mapping[str, Predictor]:
        """Predictors by name that use none, or next to none, of what the task is about.

        The first one predicts a constant: reports count as *learned* what is clearly better.
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
        settings = {"data": self.data_digest, "metric": self.score, "version": _BASELINES_VERSION}
        scores = self._kept(f"baselines-{type(self).__name__}", settings, self._score_baselines)
        return {name: float(score) for name, score in scores.items()}

    def _kept(self, name: str, settings: Mapping[str, Any], make: Callable[[], Arrays]) -> Arrays:
        """As :func:`cached_arrays`, of built-in tasks; a plugin's code may have changed."""
        if type(self).__module__.partition(".")[0] != __name__.partition(".")[0]:
            return make()
        return cached_arrays(name, settings, make)

    def _score_baselines(self) -> Arrays:
        whole = self.unconditioned()
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

    def scored_targets(self, split: str) -> Shaped[Tensor, "n ..."]:
        """What the loss is given of a split: the targets of all sequences, or per step those of
        all scored steps in a row."""
        steps = self.sizes.per_step
        shapes = ((b, (b.size, *(b.u.shape[1:2] if steps else ()), 1)) for b in self.batches(split))
        return torch.cat([batch.scored(torch.empty(shape))[1] for batch, shape in shapes])
