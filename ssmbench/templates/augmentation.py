from dataclasses import dataclass

import torch

from ssmbench.augmentations.base import Augmentation, Signals
from ssmbench.options import FRACTION, option
from ssmbench.registry import augmentations


@dataclass
class PolarityConfig:
    """``probability``: that a sequence changes its sign."""

    probability: float = option(0.5, FRACTION)


@augmentations.register("polarity", config=PolarityConfig, citation="this work")
class Polarity(Augmentation):
    """-u in place of u, at random: a loudspeaker with its wires exchanged."""

    config: PolarityConfig

    def __call__(self, signals: Signals) -> Signals:
        u = signals.u  # (B, L, channels); signals.lengths and signals.dt are None or given
        chosen = torch.rand(len(u), 1, 1, device=u.device) < self.config.probability
        return signals._replace(u=torch.where(chosen, -u, u))
