"""What archives share: series with class labels, standardised, augmented in training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from ssmbench.options import COUNT, NOT_NEGATIVE, PROPER_FRACTION, option
from ssmbench.tasks.batch import Batch
from ssmbench.tasks.classification import Classification
from ssmbench.tasks.sequences import PaddedSequences, SequenceData


@dataclass
class AugmentationConfig:
    """What changes in a training sequence each time it is seen; nothing by default."""

    #: Standard deviation of white noise, relative to that of the training part.
    noise: float = option(0.0, NOT_NEGATIVE)
    #: Largest circular shift in steps, in either direction.
    shift: int = option(0, COUNT)
    #: Largest relative change of a sequence's amplitude.
    amplitude: float = option(0.0, PROPER_FRACTION)


class AugmentedClassification(Classification):
    """Classification of series of real numbers, whose config is an :class:`AugmentationConfig`."""

    config: AugmentationConfig

    def augment(self, batch: Batch) -> Batch:
        """With noise, a circular shift of each sequence within its valid steps, and a scale."""
        config, u = self.config, batch.u
        if config.shift:
            u = _shifted(u, batch.lengths, config.shift)
        if config.amplitude:
            change = config.amplitude * (2 * torch.rand(len(u), 1, 1, device=u.device) - 1)
            u = u * (1 + change)
        if config.noise:
            u = u + config.noise * torch.randn_like(u)
        return batch._replace(u=u)


def _shifted(
    u: Float[Tensor, "B L c"], lengths: Int64[Tensor, " B"] | None, most: int
) -> Float[Tensor, "B L c"]:
    steps = torch.arange(u.shape[1], device=u.device)
    shift = torch.randint(-most, most + 1, (len(u), 1), device=u.device)
    if lengths is None:
        place = (steps - shift) % u.shape[1]
    else:
        valid = lengths[:, None]
        place = torch.where(steps < valid, (steps - shift) % valid, steps)
    return u.gather(1, place.unsqueeze(-1).expand_as(u))


def standardised(
    series: list[Float32[np.ndarray, "_ c"]], training: list[Float32[np.ndarray, "_ c"]]
) -> list[Float32[np.ndarray, "_ c"]]:
    """Each channel with the training series' mean and deviation made 0 and 1."""
    steps = np.concatenate(training)
    mean, deviation = steps.mean(0), steps.std(0)
    return [(one - mean) / np.where(deviation > 0, deviation, 1) for one in series]


def labelled(
    series: list[Float32[np.ndarray, "_ c"]], labels: Int64[np.ndarray, " n"]
) -> SequenceData:
    """Sequences with their classes."""
    return PaddedSequences.of(series, labels)
