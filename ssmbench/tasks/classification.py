"""The base class of tasks that predict the class of each sequence, or of each step."""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from ssmbench.tasks.base import Task
from ssmbench.tasks.baselines import Predictor, always, majority_class
from ssmbench.tasks.batch import UNSCORED


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
        accuracy = MulticlassAccuracy(self.sizes.outputs, average="micro", ignore_index=UNSCORED)
        return MetricCollection({"accuracy": accuracy})

    def baselines(self) -> dict[str, Predictor]:
        """The most frequent class of the training split."""
        labels = self.scored_targets("train")
        most = majority_class(labels[labels != UNSCORED], self.sizes.outputs)
        return {"majority class": always(most, per_step=self.sizes.per_step)}
