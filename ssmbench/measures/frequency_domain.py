"""Measures in the frequency domain: gain on a band, passivity, dissipativity."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssmbench.analysis import ball
from ssmbench.analysis.ball.average_supply import Supply
from ssmbench.analysis.ball.supply import Least, least_supply
from ssmbench.analysis.delay_margin import matrices_of
from ssmbench.analysis.hinf import is_static
from ssmbench.analysis.interval import INFINITE, UNKNOWN, Interval
from ssmbench.analysis.modal_supply import is_concave, least_of_modes
from ssmbench.analysis.scaling import FirstOrder
from ssmbench.analysis.stability import LARGEST_IN_BALLS, locate_poles
from ssmbench.errors import require
from ssmbench.measures.base import Finding, Measure
from ssmbench.measures.sinusoids import response_terms, supplied
from ssmbench.measures.supply_rates import (
    MATRIX,
    SYMMETRIC,
    check_sizes,
    scaled_supply,
    supply_of,
)
from ssmbench.options import NOT_NEGATIVE, metadata, option
from ssmbench.registry import NoOptions, measures
from ssmbench.systems import (
    DiscreteDiagonal,
    DiscreteSystem,
    LinearSystem,
    TimeVaryingSystem,
)

#: Frequencies of an estimate; modes up to which a diagonal system is looked at in ball arithmetic.
_GRID, _MANY_MODES = 64, 12
#: What each of them costs (tools/gain_cost.py --measures): some times what was measured.
_OF_MODES = 8.0
_UNSTABLE = "the system is unstable"
_OPEN = "unproved: whether the system is stable"


class SupplyMeasure(Measure):
    """Measures that follow from the least of a supply rate over frequencies.

    Proved by the level-set method with all eigenvalues enclosed; attacked by the sinusoid for which
    the supply is least.
    """

    @abstractmethod
    def supply(self, system: LinearSystem) -> Supply:
        """The supply rate, for this number of inputs and outputs."""

    @abstractmethod
    def of_least(self, least: Interval) -> Interval:
        """The measure, from the least supply per input energy."""

    @property
    def unstable(self) -> Interval:
        """The measure of an unstable system."""
        return Interval(-math.inf, -math.inf)

    def band(self, system: LinearSystem) -> tuple[float, float]:
        """The frequencies that are asked about; all by default."""
        return 0.0, _end(system)

    def verdict(self, least: Interval) -> str:
        """A sentence about the result; "" if the number says it all."""
        return ""

    def prove(self, system: FirstOrder) -> Finding:
        low, high = self.band(system)
        if not bool(is_static(system)):
            stable = locate_poles(system).stable
            if not stable:
                proved = UNKNOWN if stable is None else self.unstable
                return Finding(proved, low, _OPEN if stable is None else _UNSTABLE)
        found = self._least(system, low, high)
        where = {"frequency": found.omega}
        return Finding(self.of_least(found.value), found.omega, self.verdict(found.value), where)

    def cost(self, system: FirstOrder) -> float:
        return _OF_MODES * system.order if self._by_modes(system) else super().cost(system)

    def _by_modes(self, system: FirstOrder) -> bool:
        """Whether the system has so many modes that they are looked at in float64."""
        many = isinstance(system, DiscreteDiagonal) and system.order > _MANY_MODES
        return many and is_concave(self.supply(system))

    def _least(self, system: FirstOrder, low: float, high: float) -> Least:
        if self._by_modes(system):
            assert isinstance(system, DiscreteDiagonal)
            found = least_of_modes(system, self.supply(system), low, high)
            if found is not None or system.order > LARGEST_IN_BALLS:
                return found or Least(UNKNOWN, low)
        discrete = isinstance(system, DiscreteSystem)
        exact = ball.BallSystem.of(*matrices_of(system), discrete=discrete)
        return least_supply(exact, self.supply(system), low, high)

    def estimate(self, system: LinearSystem) -> Tensor:
        """The least supply on a grid of frequencies, as the measure."""
        low, high = self.band(system)
        grid = torch.linspace(0, 1, _GRID, dtype=torch.float64, device=system.D.device)
        omega = low + grid * (min(high, low + math.pi) - low)
        G = system.frequency_response(omega)
        supply = self.supply(system)
        Q, S, R = (torch.from_numpy(part).to(G) for part in (supply.Q, supply.S, supply.R))
        Pi = G.mH @ Q @ G + G.mH @ S + S.mH @ G + R
        return self.of_least_estimate(torch.linalg.eigvalsh((Pi + Pi.mH) / 2).min())

    def of_least_estimate(self, least: Tensor) -> Tensor:
        """As :meth:`of_least`, differentiable."""
        return least

    def attack(self, system: FirstOrder, found: Finding) -> float:
        if found.proved in (self.unstable, UNKNOWN):
            return math.nan  # there is no steady state
        reached = supplied(system, self.supply(system), found.witness)
        return self.of_least(Interval(reached, reached)).upper

    def scale(self, system: FirstOrder, found: Finding) -> float:
        """Of the terms of the supply, from those of the response at the worst frequency."""
        supply, terms = self.supply(system), response_terms(system, found.witness)
        Q, S, R = (float(np.linalg.norm(part, 2)) for part in (supply.Q, supply.S, supply.R))
        return Q * terms**2 + 2 * S * terms + R


def _end(system: LinearSystem) -> float:
    return math.pi if isinstance(system, DiscreteSystem) else math.inf


@dataclass
class BandGainConfig:
    """The band from ``low`` to ``high``, in radians per sample (discrete time) or per unit of time;
    ``high`` null for all frequencies above ``low``."""

    low: float = option(0.0, NOT_NEGATIVE)
    high: float | None = option(None, NOT_NEGATIVE)


@measures.register(
    "band_gain",
    config=BandGainConfig,
    citation="Bruinsma and Steinbuch 1990, Syst. Control Lett. 14:287, restricted to a band",
)
class BandGain(SupplyMeasure):
    """Largest gain of a sinusoid whose frequency lies in a band."""

    def __init__(self, config: BandGainConfig):
        super().__init__(config)
        above = config.high is None or config.low <= config.high
        require(above, f"low must not exceed high, got {config.low} and {config.high}")

    def unit(self, system: LinearSystem) -> str:
        return ""

    @property
    def unstable(self) -> Interval:
        return INFINITE

    def check(self, system: LinearSystem | TimeVaryingSystem) -> None:
        super().check(system)
        if isinstance(system, DiscreteSystem):
            for name in ("low", "high"):
                value = getattr(self.config, name)
                fits = value is None or value <= math.pi
                require(fits, f"{name}: at most pi radians per sample, got {value}")

    def band(self, system: LinearSystem) -> tuple[float, float]:
        high = self.config.high
        return self.config.low, _end(system) if high is None else high

    def supply(self, system: LinearSystem) -> Supply:
        return scaled_supply(system, -1.0, 0.0, 0.0)

    def scale(self, system: FirstOrder, found: Finding) -> float:
        return response_terms(system, found.witness)

    def of_least_estimate(self, least: Tensor) -> Tensor:
        return (-least).clamp_min(0).sqrt()

    def of_least(self, least: Interval) -> Interval:
        lower = math.sqrt(max(-least.upper, 0.0)) * (1 - 1e-15)
        return Interval(lower, math.sqrt(max(-least.lower, 0.0)) * (1 + 1e-15))


@measures.register(
    "passivity", citation="Willems 1972, Arch. Rational Mech. Anal. 45:321; Khalil 2002, section 6"
)
class Passivity(SupplyMeasure):
    """Input passivity index: the largest n with sum u'y >= n sum u'u for all inputs from rest.

    It is the least eigenvalue of (G + G^H) / 2 over all frequencies; positive: strictly passive.
    """

    larger_is_worse = False
    square = True

    def __init__(self, config: NoOptions):
        super().__init__(config)

    def unit(self, system: LinearSystem) -> str:
        return ""

    def supply(self, system: LinearSystem) -> Supply:
        return scaled_supply(system, 0.0, 0.5, 0.0)

    def of_least(self, least: Interval) -> Interval:
        return least

    def verdict(self, least: Interval) -> str:
        if least.lower > 0:
            return "strictly input passive"
        if least.lower >= 0:
            return "passive"
        return "not passive" if least.upper < 0 else "passive or not: too close to tell"


@dataclass
class DissipativityConfig:
    """The supply rate y'Q y + 2 y'S u + u'R u; each of Q, S and R a number, for that multiple of
    the identity, or a matrix as a list of rows. By default, a gain of at most 1."""

    Q: Any = field(default=-1.0, metadata=metadata(SYMMETRIC))
    S: Any = field(default=0.0, metadata=metadata(MATRIX))
    R: Any = field(default=1.0, metadata=metadata(SYMMETRIC))


@measures.register(
    "dissipativity",
    config=DissipativityConfig,
    citation="Willems 1972, Arch. Rational Mech. Anal. 45:321; Hill, Moylan 1976, IEEE TAC 21:708",
)
class Dissipativity(SupplyMeasure):
    """Least supply of a quadratic supply rate, per unit of input energy; dissipative if >= 0.

    For a stable system from rest, the supply over all time is never negative just when its average
    over every sinusoid is not. Where Q <= 0 the same holds over every finite time, since what
    follows without input supplies nothing.
    """

    larger_is_worse = False

    def __init__(self, config: DissipativityConfig):
        super().__init__(config)
        check_sizes(config.Q, config.S, config.R)

    def unit(self, system: LinearSystem) -> str:
        return ""

    def check(self, system: LinearSystem | TimeVaryingSystem) -> None:
        super().check(system)
        assert isinstance(system, LinearSystem)
        self.supply(system)

    def supply(self, system: LinearSystem) -> Supply:
        return supply_of(system, self.config.Q, self.config.S, self.config.R)

    def of_least(self, least: Interval) -> Interval:
        return least

    def verdict(self, least: Interval) -> str:
        if least.lower >= 0:
            return "dissipative"
        return "not dissipative" if least.upper < 0 else "dissipative or not: too close to tell"
