"""An interval in which a figure is proved to lie."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """lower <= the true value <= upper, both float64; an end is infinite where nothing is proved.

    Two infinite ends of one sign are a proof that the value is infinite.
    """

    lower: float
    upper: float

    @property
    def is_infinite(self) -> bool:
        """Whether the value is proved to be infinite."""
        return self.lower == self.upper and math.isinf(self.lower)

    @property
    def middle(self) -> float:
        """A value inside: the finite end where there is only one, NaN where there is none."""
        if math.isinf(self.lower) and math.isinf(self.upper):
            return self.lower if self.is_infinite else math.nan
        if math.isinf(self.upper):
            return self.lower
        return self.upper if math.isinf(self.lower) else self.lower / 2 + self.upper / 2

    def is_within(self, tolerance: float) -> bool:
        """Whether the width is at most ``tolerance``; always where the ends are equal."""
        return self.lower == self.upper or self.upper - self.lower <= tolerance

    def is_sharp(self, tolerance: float) -> bool:
        """Whether the width is at most ``tolerance`` times the lower end."""
        return self.is_within(tolerance * abs(self.lower))


INFINITE = Interval(math.inf, math.inf)
UNKNOWN = Interval(-math.inf, math.inf)
#: What is known of a norm of which nothing is proved.
UNPROVED = Interval(0.0, math.inf)


def around(value: float, error: float) -> Interval:
    """value - error .. value + error, rounded outward."""
    lower = math.nextafter(value - error, -math.inf)
    return Interval(lower, math.nextafter(value + error, math.inf))
