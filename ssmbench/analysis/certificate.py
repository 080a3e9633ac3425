"""Upper bounds on gains, which gain they are of, and how they compose.

A bound is a number L with ``||f(u) - f(v)|| <= L ||u - v||`` in l2 over the whole sequence (an
incremental gain), or with ``||f(u)|| <= L ||u||`` (a zero-state gain, :class:`GainClaim`), or
infinity together with the sentence that says why there is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

#: Rounding of float32 matrices and signals may move a gain this much, relatively.
TOLERANCE = 1e-4


class GainClaim(Enum):
    """Which l2 gain a declared figure bounds, over sequences of any length.

    ``incremental``: ``||f(u) - f(v)|| <= g ||u - v||`` for all inputs u and v. ``zero_state``:
    ``||f(u)|| <= g ||u||`` for all inputs, from the zero state; nothing follows for differences.
    Of a linear time-invariant system both are the same number.
    """

    zero_state = "zero-state"
    incremental = "incremental"

    @staticmethod
    def weakest(claims: Iterable[GainClaim]) -> GainClaim:
        """The claim that maps in series can keep together: incremental if each of them is."""
        zero = any(claim is GainClaim.zero_state for claim in claims)
        return GainClaim.zero_state if zero else GainClaim.incremental


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
