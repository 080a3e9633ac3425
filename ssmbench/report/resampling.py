"""Bootstrap intervals, sign-flip tests and Holm's correction, of plain numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

#: Coverage of every interval, and the level of every test is one minus it.
CONFIDENCE = 0.95
LEVEL = 0.05
RESAMPLES = 9999
#: Up to this many pairs all sign flips are enumerated; beyond, so many are drawn as there are then.
MOST_ENUMERATED = 14
_SEED = 0


@dataclass(frozen=True)
class Interval:
    """Limits of a confidence interval of level :data:`CONFIDENCE`."""

    low: float
    high: float


def mean_interval(values: Sequence[float]) -> Interval | None:
    """The percentile bootstrap interval of the mean; None of fewer than two values.

    Of n values the resampled means have few distinct values: of two, the interval is their range.
    Few values make it too narrow: of normal values, 50% of such intervals of 2 contain the true
    mean, 75% of 3, 83% of 5, 90% of 10.
    Source: Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.
    """
    import numpy as np

    if len(values) < 2:
        return None
    data = np.asarray(values, dtype=np.float64)
    if not np.isfinite(data).all():
        return None
    means = _resampled_weights(len(data)) @ data
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    centre = float(data.mean())  # the bounds are those of rounding, where all values are equal
    return Interval(min(float(low), centre), max(float(high), centre))


@cache
def _resampled_weights(n: int) -> np.ndarray:
    """How often each of n values is drawn, divided by n, in every resample: (RESAMPLES, n)."""
    import numpy as np

    random = np.random.default_rng(_SEED)
    return random.multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n


def sign_flip_p(differences: Sequence[float]) -> float:
    """The two-sided p-value of paired differences, which without an effect have either sign alike.

    The statistic is the absolute mean. All sign flips up to :data:`MOST_ENUMERATED` pairs, else
    random ones, counted with the observed. 1 of no pairs.
    Source: Fisher (1935), The Design of Experiments, section 21; Phipson and Smyth (2010) on
    counting the observed.
    """
    import numpy as np

    n = len(differences)
    data = np.asarray(differences, dtype=np.float64)
    if n == 0 or not np.isfinite(data).all():
        return 1.0
    sums = np.abs(_signs(n) @ data)
    seen = abs(data.sum())
    reached = sums >= seen - 1e-12 * np.abs(data).sum()  # equal but for the order of the summation
    extra = 0 if n <= MOST_ENUMERATED else 1
    return float((reached.sum() + extra) / (len(sums) + extra))


@cache
def _signs(n: int) -> np.ndarray:
    """Rows of signs. The first sign is always positive where all are enumerated: the statistic of
    the opposite signs is the same."""
    import numpy as np

    if n > MOST_ENUMERATED:
        return np.random.default_rng(_SEED).choice([-1.0, 1.0], size=(2**MOST_ENUMERATED, n))
    bits = np.arange(2 ** (n - 1))[:, None] >> np.arange(n - 1) & 1
    return np.hstack([np.ones((2 ** (n - 1), 1)), 1.0 - 2.0 * bits])


def least_p(pairs: int) -> float:
    """The smallest two-sided p-value that so many pairs can give: 2 / 2^n."""
    return min(1.0, 2.0 ** (1 - min(pairs, 1000)))


def pairs_needed(tests: int = 1) -> int:
    """The number of pairs with which the smallest p-value times ``tests`` is at most the level."""
    return math.ceil(1 + math.log2(tests / LEVEL))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: what is at most the level has a family-wise
    error of at most the level. Source: Holm (1979), Scandinavian Journal of Statistics 6, 65-70.
    """
    adjusted, largest = [0.0] * len(p), 0.0
    for place, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - place) * p[index]))
        adjusted[index] = largest
    return adjusted
