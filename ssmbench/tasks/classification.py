"""What tasks share that name the class of a whole sequence."""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from ssmbench.tasks.base import Task


class Classification(Task):
    """One logit a class and sequence; scored by accuracy."""

    score = "accuracy"
    higher_is_better = True

    def loss(
        self, prediction: Float[Tensor, "B classes"], target: Int64[Tensor, " B"]
    ) -> Float[Tensor, ""]:
        """Cross-entropy in nats, from logits."""
        return cross_entropy(prediction, target)

    def metrics(self) -> MetricCollection:
        """The share of sequences whose class has the largest logit."""
        accuracy = MulticlassAccuracy(self.sizes.outputs, average="micro")
        return MetricCollection({"accuracy": accuracy})
