"""Augmentations of any signals: noise, amplitude, shifts, speed and masks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.augmentations.base import Augmentation, Signals, taken
from ssmbench.options import (
    COUNT,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE_COUNT,
    PROPER_FRACTION,
    Allowed,
    one_of,
    option,
)
from ssmbench.registry import augmentations

_MASKS = (*POSITIVE_COUNT, Allowed("at most 1000", lambda v: v <= 1000))


@dataclass
class NoiseConfig:
    """How much noise."""

    #: Standard deviation, in the units in which the task hands over its inputs: most tasks
    #: standardise them.
    deviation: float = option(0.1, NOT_NEGATIVE)


@augmentations.register(
    "noise",
    config=NoiseConfig,
    citation="C.M. Bishop, Training with noise is equivalent to Tikhonov regularization, Neural "
    "Computation 7(1), 1995",
    summary="White Gaussian noise at every step of every channel",
)
class Noise(Augmentation):
    """u + deviation * e, e standard normal."""

    keeps_values = True
    config: NoiseConfig

    def __call__(self, signals: Signals) -> Signals:
        u = signals.u
        return signals._replace(u=u + self.config.deviation * torch.randn_like(u))


@dataclass
class AmplitudeConfig:
    """How much louder or quieter."""

    #: Largest relative change of a sequence's amplitude.
    most: float = option(0.1, PROPER_FRACTION)


@augmentations.register(
    "amplitude",
    config=AmplitudeConfig,
    citation="T.T. Um et al., Data augmentation of wearable sensor data for Parkinson's disease "
    "monitoring using convolutional neural networks, ICMI 2017, arXiv 1706.00527",
    summary="Each sequence multiplied by a number around 1",
)
class Amplitude(Augmentation):
    """(1 + c) u, c uniform in [-most, most], one for each sequence."""

    config: AmplitudeConfig

    def __call__(self, signals: Signals) -> Signals:
        change = self.config.most * _uniform(signals.u).unsqueeze(-1)
        return signals._replace(u=signals.u * (1 + change))


@dataclass
class ShiftConfig:
    """How far, and what comes in at the ends."""

    #: Largest shift in steps, in either direction.
    most: int = option(10, COUNT)
    #: What fills the steps that are left free: the other end of the sequence (circular), or zeros.
    fill: str = option("circular", one_of("circular", "zero"))


@augmentations.register(
    "shift",
    config=ShiftConfig,
    citation="A. Le Guennec, S. Malinowski, R. Tavenard, Data augmentation for time series "
    "classification using convolutional neural networks, ECML/PKDD workshop AALTD, 2016",
    summary="Each sequence moved in time within its valid steps",
)
class Shift(Augmentation):
    """u[k - s], s uniform in -most..most, one for each sequence; padding stays where it is."""

    config: ShiftConfig

    def __call__(self, signals: Signals) -> Signals:
        most, (steps, ends) = self.config.most, (signals.steps, signals.ends)
        shift = torch.randint(-most, most + 1, (len(signals.u), 1), device=signals.u.device)
        source = steps - shift
        places = torch.where(steps < ends, source % ends, steps)
        if self.config.fill == "circular":
            return taken(signals, places)
        return taken(signals, places, ((source >= 0) & (source < ends)) | (steps >= ends))


@dataclass
class SpeedConfig:
    """How much faster or slower."""

    #: Largest relative change of a sequence's speed.
    most: float = option(0.1, PROPER_FRACTION)


@augmentations.register(
    "speed",
    config=SpeedConfig,
    citation="T. Ko, V. Peddinti, D. Povey, S. Khudanpur, Audio augmentation for speech "
    "recognition, Interspeech 2015",
    summary="Each sequence played faster or slower, by linear interpolation",
)
class Speed(Augmentation):
    """u at the times s k, s uniform in [1 - most, 1 + most], one for each sequence.

    A slower sequence is cut off where its row of the batch ends. A faster one becomes shorter,
    where the batch has lengths, and else ends with zeros.
    """

    config: SpeedConfig

    def __call__(self, signals: Signals) -> Signals:
        speed = 1 + self.config.most * _uniform(signals.u)
        last = signals.ends - 1
        times = speed * signals.steps
        kept = times <= last
        before = times.long().clamp(max=last)
        after = (before + 1).clamp(max=last)
        share = (times - before).clamp(0, 1)
        first, second = taken(signals, before, kept), taken(signals, after, kept)
        mixed = first._replace(u=torch.lerp(first.u, second.u, share[..., None]))
        if first.dt is not None and second.dt is not None:
            mixed = mixed._replace(dt=torch.lerp(first.dt, second.dt, share))
        return mixed if signals.lengths is None else mixed._replace(lengths=kept.sum(1))


@dataclass
class MaskConfig:
    """How much is hidden."""

    #: Number of masks in each sequence; they may overlap.
    masks: int = option(1, _MASKS)
    #: Greatest length of a mask, as a share of the sequence.
    longest: float = option(0.1, FRACTION)


@augmentations.register(
    "mask",
    config=MaskConfig,
    citation="D.S. Park et al., SpecAugment: a simple data augmentation method for automatic "
    "speech recognition, Interspeech 2019, arXiv 1904.08779",
    summary="Zeros over intervals of time, in all channels",
)
class Mask(Augmentation):
    """Intervals of uniform length and place, which lie within the valid steps, are 0."""

    config: MaskConfig

    def __call__(self, signals: Signals) -> Signals:
        u, ends = signals.u, signals.ends
        shape = (2, len(u), self.config.masks)
        lengths, starts = torch.rand(shape, device=u.device)
        width = (self.config.longest * ends * lengths).round()
        start = ((ends - width + 1) * starts).floor()
        steps = signals.steps[:, None]
        inside = (steps >= start[:, None]) & (steps < (start + width)[:, None])
        return signals._replace(u=u.masked_fill(inside.any(-1)[..., None], 0))


def _uniform(u: Float[Tensor, "B L c"]) -> Float[Tensor, "B 1"]:
    """A number in [-1, 1] for each sequence."""
    return 2 * torch.rand(len(u), 1, device=u.device) - 1
