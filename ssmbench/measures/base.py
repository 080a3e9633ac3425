"""Base class of measures: one number about a linear system, with its proof and its attack."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from ssmbench.analysis.interval import UNKNOWN, Interval
from ssmbench.analysis.measured import Measured
from ssmbench.analysis.scaling import FirstOrder, first_order
from ssmbench.analysis.stability import heads_of
from ssmbench.errors import UsageError, require
from ssmbench.systems import ContinuousSystem, DiscreteSystem, LinearSystem, TimeVaryingSystem

#: Order^3 summed over the systems of a batch that are examined: about half a minute.
BUDGET = 2 * 64**3
#: Why a time-varying system has no measures.
VARYING = "time-varying: its matrices follow from the input, and the measures are of fixed systems"
_ONE_UNPROVED = "unproved: of a system of the batch no bound could be proved"
_OVER_BUDGET = "systems beyond the budget of time were not examined"


@dataclass(frozen=True)
class Finding:
    """What is proved of one system. ``witness``: what the attack begins with; ``details``: further
    figures by name."""

    proved: Interval
    witness: Any = None
    note: str = ""
    details: Mapping[str, float] = field(default_factory=dict)


class Measure(ABC):
    """One number about a linear time-invariant system: how it is proved, and how it is attacked.

    Built by the registry as ``factory(config)``. A measure examines one system at a time; of a
    batch of systems, which act on separate channels, the worst counts.
    """

    #: Whether a system is worse the larger the number is, as a gain, or the smaller, as a margin.
    larger_is_worse: ClassVar[bool] = True
    #: Whether the value that is given is the proved bound, rather than the middle of the interval.
    value_is_bound: ClassVar[bool] = False
    #: The time domains that it is defined in.
    domains: ClassVar[tuple[type[LinearSystem], ...]] = (ContinuousSystem, DiscreteSystem)
    #: Whether it needs as many outputs as inputs.
    square: ClassVar[bool] = False

    def __init__(self, config: Any = None):
        self.config = config

    @abstractmethod
    def unit(self, system: LinearSystem) -> str:
        """The unit of the number; "" if it has none."""

    @abstractmethod
    def prove(self, system: FirstOrder) -> Finding:
        """An interval that contains the number of one system (H = 1, diagonal or dense, in double
        precision), whether it is stable or not."""

    @abstractmethod
    def attack(self, system: FirstOrder, found: Finding) -> float:
        """What a signal reaches in a simulation of one system, or a search in float64; NaN where
        there is nothing to simulate. It uses the matrices, not the proof."""

    def scale(self, system: FirstOrder, found: Finding) -> float:
        """The size of the terms that the number of one system is a difference of, in its unit: so
        far as they cancel, the attack knows the number only to 1e-9 of it. 0 of a sum of norms."""
        return 0.0

    def cost(self, system: FirstOrder) -> float:
        """What the proof of one system takes of :data:`BUDGET`."""
        return float(system.order**3)

    def estimate(self, system: LinearSystem) -> Tensor | None:
        """About the number of the worst system, differentiable, for a search of parameters that
        come near what is declared; None where there is no such estimate."""
        return None

    def check(self, system: LinearSystem | TimeVaryingSystem) -> None:
        """Raise a UsageError, with the reason, unless the measure is defined for the system."""
        if isinstance(system, TimeVaryingSystem):
            raise UsageError(VARYING)
        names = " or ".join(
            "continuous" if d is ContinuousSystem else "discrete" for d in self.domains
        )
        require(isinstance(system, self.domains), f"is defined for {names} systems only")
        sizes = f"{system.outputs} outputs and {system.inputs} inputs"
        fits = not self.square or system.inputs == system.outputs
        require(fits, f"needs as many outputs as inputs; the system has {sizes}")

    def measure(self, system: LinearSystem | TimeVaryingSystem) -> Measured:
        """The worst over all systems of the batch, within a budget of time.

        Raises:
            UsageError: the measure is not defined for this system, or an entry is not finite.
        """
        self.check(system)
        assert isinstance(system, LinearSystem)
        require(system.is_finite(), "an entry of the system is not finite")
        heads = list(heads_of(first_order(system.detach()).to("cpu").double()))
        count = min(len(heads), max(int(BUDGET / max(self.cost(heads[0]), 1.0)), 1))
        found = [self.prove(head) for head in heads[:count]]
        worst = max(range(count), key=lambda index: self._badness(found[index].proved))
        unproved = [one for one in found if self._is_open(one.proved)]
        said = unproved[0].note or _ONE_UNPROVED if unproved else found[worst].note
        note = "; ".join(filter(None, (said, *_left_out(count, len(heads)))))
        return Measured(
            proved=self._joined([f.proved for f in found], complete=count == len(heads)),
            attacked=self.attack(heads[worst], found[worst]),
            unit=self.unit(system),
            larger_is_worse=self.larger_is_worse,
            value_is_bound=self.value_is_bound,
            note=note,
            details=self.joined_details(found, worst),
            head=worst,
            scale=self.scale(heads[worst], found[worst]),
        )

    def joined_details(self, found: Sequence[Finding], worst: int) -> Mapping[str, float]:
        """The details of a batch: those of its ``worst`` system, unless a measure has others."""
        return found[worst].details

    def _is_open(self, proved: Interval) -> bool:
        """Whether nothing is proved of a system that limits how bad it is."""
        bound = proved.upper if self.larger_is_worse else proved.lower
        return not math.isfinite(bound) and not proved.is_infinite

    def _badness(self, proved: Interval) -> float:
        reached = proved.lower if self.larger_is_worse else -proved.upper
        return -math.inf if math.isnan(reached) else reached

    def _joined(self, proved: list[Interval], *, complete: bool) -> Interval:
        """The interval of the worst of all; open where some system was not examined."""
        worst = max if self.larger_is_worse else min
        lower, upper = (worst(getattr(p, end) for p in proved) for end in ("lower", "upper"))
        if complete:
            return Interval(lower, upper)
        return (
            Interval(lower, UNKNOWN.upper)
            if self.larger_is_worse
            else Interval(UNKNOWN.lower, upper)
        )


def _left_out(examined: int, count: int) -> list[str]:
    if examined == count:
        return []
    return [f"unproved: {count - examined} of {count} {_OVER_BUDGET}"]
