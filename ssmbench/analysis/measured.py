"""What is known of one figure of a system: a proved interval, and what an attack reached."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ssmbench.analysis.certificate import TOLERANCE
from ssmbench.analysis.interval import UNPROVED, Interval

#: What float64 leaves of terms that cancel, of their size.
_CANCELLED = 1e-9


@dataclass(frozen=True)
class Measured:
    """A measure of a batch of systems on separate channels: the worst over all of them.

    ``proved``: the interval in which the figure lies; an end is infinite where nothing is proved.
    ``attacked``: what a signal, or a search, reached in float64: for a measure of which more is
    worse it is a lower bound, else an upper bound. ``head``: the system that is the worst.
    ``scale``: the size of the terms that the figure is a difference of (:meth:`Measure.scale`).
    """

    proved: Interval
    attacked: float
    unit: str
    larger_is_worse: bool
    value_is_bound: bool = False
    note: str = ""
    details: Mapping[str, float] = field(default_factory=dict)
    head: int = 0
    scale: float = 0.0

    @property
    def value(self) -> float:
        """The middle of the interval, or its finite end; NaN where it has none, and where all that
        is proved is that the figure is not negative. For a figure that is a promise, such as a rate
        with its overshoot, the bound."""
        if self.proved == UNPROVED:
            return math.nan
        return self.bound if self.value_is_bound else self.proved.middle

    @property
    def bound(self) -> float:
        """The end of the interval that holds as a promise: the upper one where more is worse."""
        return self.proved.upper if self.larger_is_worse else self.proved.lower

    @property
    def is_proved(self) -> bool:
        """Whether :attr:`bound` is finite, or the figure is proved to be infinite; not if all that
        is known is that the figure is not negative."""
        if self.proved == UNPROVED:
            return False
        return math.isfinite(self.bound) or self.proved.is_infinite

    def exceeds(self, promised: float) -> bool:
        """Whether the figure, or what the attack reached, is worse than promised."""
        found = (self.attacked, self.proved.lower if self.larger_is_worse else self.proved.upper)
        return any(is_worse(value, promised, self.larger_is_worse, self.scale) for value in found)

    @property
    def is_broken(self) -> bool:
        """Whether the attack reached more than is proved to be possible."""
        return is_worse(self.attacked, self.bound, self.larger_is_worse, self.scale)

    def __str__(self) -> str:
        """The value with its unit, the proved interval, what the attack reached, and the note."""
        mark = "" if self.is_proved else " (unproved)"
        unit = f" {self.unit}" if self.unit else ""
        proved = f"in [{self.proved.lower:.6g}, {self.proved.upper:.6g}]"
        parts = [f"{self.value:.6g}{unit}{mark} {proved}, attacked {self.attacked:.6g}"]
        parts += [f"{name.replace('_', ' ')} {value:.6g}" for name, value in self.details.items()]
        return "; ".join([*parts, *filter(None, [self.note])])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; what is not a number is None."""
        figures = {
            **self.details,
            "value": self.value,
            "lower_bound": self.proved.lower,
            "upper_bound": self.proved.upper,
            "attacked": self.attacked,
        }
        known = {name: None if math.isnan(x) else x for name, x in figures.items()}
        return known | {"unit": self.unit, "unproved": not self.is_proved, "note": self.note}


def is_worse(value: float, than: float, larger_is_worse: bool, scale: float = 0.0) -> bool:
    """Whether a figure is worse than another by more than the rounding of signals: relatively, and
    where it is a difference of terms of the size ``scale``, by 1e-9 of that."""
    if math.isnan(value) or math.isnan(than):
        return False
    if math.isinf(than):
        return value != than and (value > than) == larger_is_worse
    cancelled = _CANCELLED * scale if math.isfinite(scale) else 0.0  # at a pole, or overflown
    slack = TOLERANCE * abs(than) + cancelled
    return value > than + slack if larger_is_worse else value < than - slack
