"""Label smoothing: the uniform part of a cross-entropy."""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import log_softmax

from ssmbench.tasks.batch import UNSCORED


def uniform_cross_entropy(
    logits: Float[Tensor, "n classes"], target: Int64[Tensor, " n"]
) -> Float[Tensor, ""]:
    """The cross-entropy of the uniform distribution and the logits, in nats: the mean of -log p
    over all classes, and over what is scored."""
    each = -log_softmax(logits, -1).mean(-1)
    scored = target != UNSCORED
    return each.masked_fill(~scored, 0).sum() / scored.sum()
