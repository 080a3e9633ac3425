from dataclasses import dataclass

import numpy as np

from ssmbench.analysis.dense_proofs import gain_reached
from ssmbench.analysis.interval import Interval
from ssmbench.analysis.scaling import FirstOrder
from ssmbench.analysis.stability import array
from ssmbench.measures.base import Finding, Measure
from ssmbench.registry import measures
from ssmbench.systems import DiscreteSystem, LinearSystem


@dataclass
class FirstStepConfig:
    """``margin``: how much larger the proved bound is than what was computed, relatively."""

    margin: float = 1e-9


@measures.register("first_step", config=FirstStepConfig, citation="this work")
class FirstStep(Measure):
    """Largest gain from an input to the output at the same step: the norm of D."""

    larger_is_worse = True  # False for a measure like a stability margin
    domains = (DiscreteSystem,)  # the others are refused, with the reason

    def unit(self, system: LinearSystem) -> str:
        return ""  # for example "samples"

    def prove(self, system: FirstOrder) -> Finding:
        D = array(system.D)  # (p, m), of one system in float64 or complex128
        about = float(np.linalg.norm(D, 2))
        lower = gain_reached(D, D, D, D, np.inf, discrete=False)  # of D, less all rounding
        upper = about * (1 + self.config.margin) + 1e-300
        return Finding(Interval(lower, upper), witness=np.linalg.svd(D)[2][0].conj())

    def attack(self, system: FirstOrder, found: Finding) -> float:
        u = found.witness  # what this input reaches in a simulation of one step
        return float(np.linalg.norm(array(system.D) @ u) / np.linalg.norm(u))
