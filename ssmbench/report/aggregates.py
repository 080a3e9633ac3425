"""Figures of several runs in one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence


def worst(values: Iterable[float | None]) -> float | None:
    """The largest value; None unless every run has the figure."""
    known = complete(list(values))
    return max(known) if known else None


def complete(values: Sequence[float | None]) -> list[float]:
    """The values; an empty list if one of them is missing."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of the finite ones; None if there are none."""
    known = [v for v in values if v is not None and math.isfinite(v)]
    return statistics.fmean(known) if known else None


def mean_and_spread(scores: Sequence[float]) -> dict[str, float | None]:
    """Mean and sample standard deviation, as the fields of a row; None where there is none."""
    return {
        "score_mean": statistics.fmean(scores) if scores else None,
        "score_spread": statistics.stdev(scores) if len(scores) > 1 else None,
    }


def ratio(one: float | None, other: float | None) -> float | None:
    """``one / other``; None where one is missing, the divisor is zero, or both are infinite."""
    if one is None or other is None or other == 0 or math.isinf(other):
        return None
    return one / other
