"""Upper bounds on incremental gains, and how they compose.

A bound is a number L with ``||f(u) - f(v)|| <= L ||u - v||`` in l2 over the whole sequence, or
infinity together with the sentence that says why there is none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Rounding of float32 matrices and signals may move a gain this much, relatively.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Bound:
    """``value`` is infinite exactly when ``reason`` says why."""

    value: float
    reason: str = ""

    def __post_init__(self) -> None:
        if math.isnan(self.value):
            raise ValueError("a bound cannot be NaN")

    @staticmethod
    def none(reason: str) -> Bound:
        """No finite bound."""
        return Bound(math.inf, reason)

    @property
    def finite(self) -> bool:
        return math.isfinite(self.value)

    def then(self, after: Bound) -> Bound:
        """The bound of ``after`` applied to the result: the product."""
        return _combine(self, after, lambda a, b: a * b)

    def plus(self, beside: Bound) -> Bound:
        """The bound of a sum of two maps of one input: the sum."""
        return _combine(self, beside, lambda a, b: a + b)


#: The identity's bound.
IDENTITY = Bound(1.0)


def _combine(first: Bound, second: Bound, rule) -> Bound:
    if first.finite and second.finite:
        value = rule(first.value, second.value)
        return Bound(value) if math.isfinite(value) else Bound.none("the bound overflows")
    return Bound.none(first.reason or second.reason or "a factor is infinite")
