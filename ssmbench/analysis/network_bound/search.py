"""The search for multipliers on a part of the frequencies, where there are many.

Of long sequences, neighbouring frequencies say nearly the same. So the multipliers are optimised
on some of them; the result is drawn back towards the best multipliers known until all frequencies
allow it, and those that did not allow it at first, or have the largest gain, join the others in the
next round. What is feasible is convex in the multipliers, so that a point on the way is feasible
where both ends are.

Source: the exchange method of semi-infinite programming (Hettich and Kortanek 1993, SIAM Review
    35:380, section 7.1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ssmbench.analysis.network_bound.multipliers import Point, Problem, optimise

#: Up to so many frequencies all are used; the part begins with so many, and grows by so many.
_WHOLE, _FIRST, _MORE = 160, 64, 24
#: Rounds, and the shares of the way to what a round has found that are tried.
_ROUNDS, _WAY = 4, (1.0, 0.98, 0.9, 0.7, 0.4, 0.1)
#: A round that gains less, relatively, and finds no other frequency, is the last one.
_GAIN = 2e-3


def search(problem: Problem, T: np.ndarray, work: float) -> np.ndarray:
    """Multipliers with a smaller bound, from feasible ones, within so many multiplications."""
    frequencies = len(problem.reads)
    if frequencies <= _WHOLE or not problem.remainders:
        return optimise(problem, T, work)
    best = Point.at(problem, T)
    if best is None:
        return T
    part = _Part(problem, _first(frequencies))
    for _ in range(_ROUNDS):
        found = optimise(part.problem, best.T, work / _ROUNDS)
        after = _drawn_back(problem, best, found)
        grown = part.with_worst(found, after)
        gained = after.least < best.least * (1 - _GAIN)
        known = len(grown.chosen) == len(part.chosen)
        part, best = grown, after
        if known and not gained:
            break
    return best.T


def _first(frequencies: int) -> np.ndarray:
    """Half of them evenly spaced, half of them at geometric distances from 0, where the frequencies
    are that sums over the steps consist of."""
    even = np.linspace(0, frequencies - 1, _FIRST // 2)
    low = np.geomspace(1, frequencies, _FIRST // 2) - 1
    return np.unique(np.concatenate([even, low]).round().astype(int))


def _drawn_back(problem: Problem, best: Point, found: np.ndarray) -> Point:
    """The best one of some points on the way to what was found, all of them feasible."""
    for share in _WAY:
        after = Point.at(problem, best.T + share * (found - best.T))
        if after is not None and after.least < best.least:
            return after
    return best


@dataclass(frozen=True)
class _Part:
    """Some frequencies (f,) of a problem, by their numbers in ascending order."""

    whole: Problem
    chosen: np.ndarray

    @property
    def problem(self) -> Problem:
        """Their problem; the weight of each in a sum is that of all to which it is the nearest."""
        shares = self.whole.shares
        if shares is not None:
            middles = (self.chosen[1:] + self.chosen[:-1] + 1) // 2
            shares = np.add.reduceat(shares, np.concatenate([[0], middles]))
        reads, outputs = self.whole.reads[self.chosen], self.whole.outputs[self.chosen]
        return replace(self.whole, reads=reads, outputs=outputs, shares=shares)

    def with_worst(self, found: np.ndarray, feasible: Point) -> _Part:
        """With the frequencies at which the multipliers found are the least feasible, and with
        those that count most in the bound of feasible ones."""
        W = self.whole.scaled(found).reads
        tightness = np.linalg.norm(W, 2, axis=(1, 2))  # above 1 where infeasible
        here, k = feasible.here, feasible.P.shape[1]
        core = here.outputs[..., :k]
        gains = np.real(np.einsum("fij,fjk,fik->f", core, feasible.P, core.conj()))
        if here.shares is not None:
            gains = here.shares * gains
        more = [_peaks(tightness), _peaks(gains)]
        return _Part(self.whole, np.unique(np.concatenate([self.chosen, *more])))


def _peaks(values: np.ndarray) -> np.ndarray:
    """The numbers of the largest local maxima."""
    padded = np.concatenate([[-math.inf], values, [-math.inf]])
    tops = np.flatnonzero((values >= padded[:-2]) & (values >= padded[2:]))
    return tops[np.argsort(-values[tops])[:_MORE]]
