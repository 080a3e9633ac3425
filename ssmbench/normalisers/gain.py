"""Normalisers by the rigorous bounds of ``analysis.upper_bound``."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ssmbench.analysis.peak_estimate import estimated_peak_gain
from ssmbench.analysis.rounding import rounding_gain
from ssmbench.analysis.upper_bound import hinf_bound, horizon_bound
from ssmbench.normalisers.base import Discrete, Normaliser, NormaliserConfig
from ssmbench.options import POSITIVE_COUNT, Allowed, one_of, option
from ssmbench.registry import normalisers
from ssmbench.systems import DiscreteDiagonal, DiscreteSystem


@dataclass
class HinfConfig(NormaliserConfig):
    """``training``: what the steps of the training divide by, the ``proved`` bound or an
    ``estimated`` gain, which is quicker (:func:`estimated_peak_gain`) and for diagonal systems of
    one input and one output; validation, tests and every analysis have the proved one."""

    training: str = option("proved", one_of("proved", "estimated"), added=2)


@normalisers.register("hinf", config=HinfConfig, citation="this work")
class HinfNormaliser(Normaliser):
    """By the H-infinity norm, certified to 1%: the gain over an infinite horizon is at most gamma.

    What rounding in the system's precision may add is part of the bound. It is small unless modes
    cancel or are hardly damped, and counts as constant in gradients.
    """

    infinite_horizon = True

    def __init__(self, config: NormaliserConfig):
        super().__init__(config)
        self.estimated = isinstance(config, HinfConfig) and config.training == "estimated"

    def in_training(self, system: Discrete) -> Discrete:
        """By the estimate where the options ask for it and there is one."""
        simple = system.inputs == system.outputs == 1
        if self.estimated and simple and isinstance(system, DiscreteDiagonal):
            return self._scaled(system, estimated_peak_gain(system))
        return self(system)

    def bound(self, system: DiscreteSystem) -> Float[Tensor, " H"]:
        return hinf_bound(system) + rounding_gain(system)


@dataclass
class HorizonConfig(NormaliserConfig):
    """Steps that are bounded, from rest, and the FFT's points for each of them."""

    horizon: int = option(1024, POSITIVE_COUNT)
    oversampling: int = option(8, Allowed("at least 2", lambda v: v >= 2))


@normalisers.register("horizon", config=HorizonConfig, citation="this work; Ehlich and Zeller 1964")
class HorizonNormaliser(Normaliser):
    """By the FFT bound over a horizon: slow modes that it does not see may exceed gamma later."""

    infinite_horizon = False

    def __init__(self, config: HorizonConfig):
        super().__init__(config)
        self.horizon, self.oversampling = config.horizon, config.oversampling

    def bound(self, system: DiscreteSystem) -> Float[Tensor, " H"]:
        return horizon_bound(system, self.horizon, self.oversampling)
