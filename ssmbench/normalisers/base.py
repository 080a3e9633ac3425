"""Base class of normalisers: a discrete system in, the same system with a prescribed gain out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.options import POSITIVE, option
from ssmbench.systems import DiscreteSystem

Discrete = TypeVar("Discrete", bound=DiscreteSystem)

#: Headroom for rounding C and D to float32 after scaling.
_ROUNDING = 1e-5


@dataclass
class NormaliserConfig:
    """``gamma`` for each head; ``shrink_only`` leaves smaller gains as they are."""

    gamma: float = option(1.0, POSITIVE)
    shrink_only: bool = False


class Normaliser(ABC):
    """Scales C and D of every head by gamma / bound (by at most 1 with ``shrink_only``).

    The variant stays as expressive as it was: every system of gain gamma is reached. The scale is
    differentiable, so that training sees what a parameter does to the normalised system. A head
    without a finite bound has its outputs scaled to zero, and an unstable one stays unstable.

    Raises:
        UsageError: a gamma that is not positive.
    """

    #: Whether gamma bounds the gain over an infinite horizon, so that the layer may declare it.
    infinite_horizon: ClassVar[bool]

    def __init__(self, config: NormaliserConfig):
        self.gamma = config.gamma
        self.shrink_only = config.shrink_only

    def __call__(self, system: Discrete) -> Discrete:
        """The same system type; u -> y scaled head by head."""
        return self._scaled(system, self.bound(system))

    def in_training(self, system: Discrete) -> Discrete:
        """The system of a step of the training, at which nothing is promised; by default the
        normalised one."""
        return self(system)

    def _scaled(self, system: Discrete, gain: Float[Tensor, " H"]) -> Discrete:
        """The system, scaled as one with these gains."""
        gain = gain.clamp_min(torch.finfo(torch.float32).tiny)
        scale = self.gamma * (1 - _ROUNDING) / gain
        if self.shrink_only:
            scale = scale.clamp_max(1.0)
        scale = scale[:, None, None]
        return replace(
            system,
            C=(system.C * scale).to(system.C.dtype),
            D=(system.D * scale).to(system.D.dtype),
        )

    @abstractmethod
    def bound(self, system: DiscreteSystem) -> Float[Tensor, " H"]:
        """A rigorous upper bound on the gain of each head, float64, differentiable."""

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """The class's facts as plain values."""
        return {"infinite_horizon": cls.infinite_horizon}
