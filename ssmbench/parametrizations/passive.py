"""Passive systems with a prescribed passivity index and gain, at the speed of a diagonal scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from ssmbench.errors import require
from ssmbench.options import NOT_NEGATIVE, option
from ssmbench.parametrizations.contraction import (
    Contraction,
    ContractionConfig,
    completion,
    of_gain,
)
from ssmbench.registry import parametrizations
from ssmbench.systems import DiscreteDiagonal

#: Share of gamma by which the disc of the values of G is kept smaller than what is declared: more
#: than the rounding of the matrices to float32 moves G.
MARGIN = 1e-6


@dataclass
class PassiveConfig(ContractionConfig):
    """``index``: the passivity index, at least 0 and below ``gamma``: sum u'y >= index sum u'u;
    null for a twentieth of ``gamma``."""

    index: float | None = option(None, NOT_NEGATIVE)


@parametrizations.register(
    "passive",
    config=PassiveConfig,
    citation="this work; Desoer and Vidyasagar 1975, Feedback Systems, section 6.10 (passivity by "
    "the Cayley transform of a contraction)",
)
class Passive(Contraction):
    """Cayley transform of a contraction, scaled: strictly input passive, and of bounded gain.

    The values of G at all frequencies lie in the disc with the diameter [index, gamma], that is
    ``||G - c I|| <= r`` for ``c = (gamma + index) / 2`` and ``r = (gamma - index) / 2``. These are
    the transforms ``s (I + K)(I - K)^-1`` of systems K of gain ``(gamma - s) / (gamma + s)``,
    ``s = sqrt(gamma index)``, and just as well ``c I + r K'`` with K' of gain 1, which needs no
    inverse and is diagonal. Passivity indices of such layers add up, and a loop closed around one
    with negative feedback of a passive system is stable.
    """

    def __init__(self, config: PassiveConfig, *, d_model: int):
        gamma = config.gamma
        index = gamma / 20 if config.index is None else config.index
        require(index < gamma, f"index must be below gamma, got index={index} and gamma={gamma}")
        super().__init__(config, d_model=d_model)
        self.index = index

    def declared_measures(self) -> Mapping[str, float]:
        """The passivity index."""
        return {"passivity": self.index}

    def _exact(self) -> DiscreteDiagonal:
        lam = self.poles()
        parts = completion(lam, self.X0.double(), self.Y0.double(), self.S.double())
        radius = (self.gamma - self.index) / 2
        centre = self.gamma - radius
        inner = of_gain(max(radius - MARGIN * self.gamma, 0.0), lam, *parts)
        return replace(inner, D=inner.D + centre * torch.eye(inner.inputs).to(inner.D))
