"""The base class of tasks that predict the class of each sequence, or of each step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy

from ssmbench.spec import Channels
from ssmbench.tasks.base import Task
from ssmbench.tasks.baselines import Predictor, always, majority_class
from ssmbench.tasks.batch import UNSCORED
from ssmbench.tasks.cache import Arrays
from ssmbench.tasks.nearest_neighbour import NeighbourCertificate, neighbour_certificate

if TYPE_CHECKING:  # slow: imported where metrics are made
    from torchmetrics import MetricCollection

#: Products of numbers that distances between sequences may take: a minute of a core.
_MOST_PRODUCTS = 10**11


class Classification(Task):
    """Predicts one logit for each class, per sequence or per step; scored by accuracy.

    Steps with the target :data:`~ssmbench.tasks.batch.UNSCORED` do not count.
    """

    score = "accuracy"
    higher_is_better = True
    classifies = True

    def loss(
        self, prediction: Float[Tensor, "n classes"], target: Int64[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        """The cross-entropy of the logits, in nats."""
        return cross_entropy(prediction, target, ignore_index=UNSCORED)

    def metrics(self) -> MetricCollection:
        """The fraction of sequences, or of steps, whose class has the largest logit."""
        from torchmetrics import MetricCollection
        from torchmetrics.classification import MulticlassAccuracy

        accuracy = MulticlassAccuracy(self.sizes.outputs, average="micro", ignore_index=UNSCORED)
        return MetricCollection({"accuracy": accuracy})

    def baselines(self) -> dict[str, Predictor]:
        """The most frequent class of the training split."""
        labels = self.scored_targets("train")
        most = majority_class(labels[labels != UNSCORED], self.sizes.outputs)
        return {"majority class": always(most, per_step=self.sizes.per_step)}

    def neighbour_certificate(self, sequences: int) -> NeighbourCertificate | str:
        """What the nearest-neighbour classifier certifies of the first ``sequences`` of the test
        split, or why there is no such certificate. Computed once for its data, as
        :meth:`baseline_scores`."""
        whole = self.unconditioned()
        reason = whole._why_no_neighbours(sequences)
        if reason:
            return reason
        settings = {"data": self.data_digest, "sequences": sequences, "version": 1}
        found = self._kept(
            f"neighbours-{type(self).__name__}", settings, lambda: whole._neighbours(sequences)
        )
        return NeighbourCertificate(*(torch.tensor(found[name]) for name in ("radii", "right")))

    def _neighbours(self, sequences: int) -> Arrays:
        test, classes = self.sample("test", sequences), self.sizes.outputs
        found = neighbour_certificate(self.batches("train"), test, classes)
        return {"radii": found.radii.numpy(), "right": found.right.numpy()}

    def _why_no_neighbours(self, sequences: int) -> str:
        if not isinstance(self.sizes.input, Channels):
            return f"inputs are {self.sizes.input}, which have no distance"
        if self.sizes.per_step:
            return "classes are those of steps"
        train, test = self.split("train"), self.split("test")
        if train.lengths is not None or test.lengths is not None:
            return "sequences differ in length"
        first = self.sample("test", sequences)
        products = len(train) * first.u.numel()
        if first.dt is not None or self.sample("train", 1).u.shape[1:] != first.u.shape[1:]:
            return "sequences differ in length or in their time steps"
        return "" if products <= _MOST_PRODUCTS else "the distances to compute are too many"
