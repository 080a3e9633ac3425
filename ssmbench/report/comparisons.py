"""Paired comparisons between the variants of a task."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from ssmbench.report.resampling import (
    LEVEL,
    holm,
    least_p,
    mean_interval,
    pairs_needed,
    sign_flip_p,
)
from ssmbench.report.scale import Scale
from ssmbench.report.statistics import Row

#: Every verdict, and what it means.
VERDICTS: Final = {
    "better": "the adjusted p-value is at most 0.05, and the difference is above the resolution",
    "no difference shown": "the adjusted p-value is above 0.05",
    "below resolution": "the choice of test samples, or rounding, changes a score as much",
    "too few seeds": "no outcome with so many seeds could have an adjusted p-value of 0.05",
}


@dataclass(frozen=True)
class Comparison:
    """``one`` against ``other`` (variant, discretizer) on the seeds that both have finished.

    ``difference``: mean of the score of ``one`` minus that of ``other``, ``low`` and ``high`` its
    bootstrap interval (None of one pair). ``p``: two-sided, of all sign flips; ``adjusted``: by
    Holm's method over the pairs of the task. ``resolution``: differences below it are none of the
    models; None if not known. ``verdict``: one of :data:`VERDICTS`; ``better`` is the winner's
    place, 0 or 1, if that is "better", else None. ``reason``: a sentence on the verdict.
    """

    task: str
    one: tuple[str, str]
    other: tuple[str, str]
    pairs: int
    difference: float
    low: float | None
    high: float | None
    p: float
    adjusted: float
    resolution: float | None
    verdict: str
    reason: str
    better: int | None = None


def comparisons(table: Sequence[Row], scale: Scale | None) -> list[Comparison]:
    """Every pair of the rows of one task that has a seed in common, in the rows' order."""
    pairs = [pair for pair in itertools.combinations(table, 2) if _common(*pair)]
    if scale is None or not pairs:
        return []
    return judged([_compared(one, other, scale) for one, other in pairs], scale)


def _common(one: Row, other: Row) -> list[int]:
    return sorted(one.scores.keys() & other.scores.keys())


def _compared(one: Row, other: Row, scale: Scale) -> Comparison:
    first, second = one.scores, other.scores
    seeds = _common(one, other)
    return compared(
        one.task,
        (one.key, other.key),
        [first[seed] for seed in seeds],
        [second[seed] for seed in seeds],
        scale,
    )


def compared(
    task: str,
    names: tuple[tuple[str, str], tuple[str, str]],
    first: Sequence[float],
    second: Sequence[float],
    scale: Scale,
) -> Comparison:
    """Scores paired by their place; the verdict is that of :func:`judged`."""
    differences = [a - b for a, b in zip(first, second, strict=True)]
    count = len(differences)
    interval, p = mean_interval(differences), sign_flip_p(differences)
    return Comparison(
        task=task,
        one=names[0],
        other=names[1],
        pairs=count,
        difference=sum(differences) / count,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        p=p,
        adjusted=p,
        resolution=scale.resolution(sum(first) / count, sum(second) / count),
        verdict="",
        reason="",
    )


def judged(found: Sequence[Comparison], scale: Scale) -> list[Comparison]:
    """With adjusted p-values and verdicts; ``found`` are all comparisons of one family."""
    adjusted = holm([one.p for one in found])
    least = holm([least_p(one.pairs) for one in found])
    return [
        _judged(replace(one, adjusted=p), bound, len(found), scale)
        for one, p, bound in zip(found, adjusted, least, strict=True)
    ]


def _judged(one: Comparison, least: float, family: int, scale: Scale) -> Comparison:
    """``least``: the smallest adjusted p-value that the numbers of pairs allow."""
    if least > LEVEL:
        return replace(one, verdict="too few seeds", reason=_too_few(one, family))
    if one.resolution is not None and abs(one.difference) < one.resolution:
        reason = f"the difference is smaller than {one.resolution:.4g}, {_source(scale)}"
        return replace(one, verdict="below resolution", reason=reason)
    if one.adjusted > LEVEL:
        return replace(one, verdict="no difference shown", reason=_p_text(one, family))
    winner = 0 if scale.better(one.difference, 0.0) else 1
    return replace(one, verdict="better", reason=_p_text(one, family), better=winner)


def _too_few(one: Comparison, family: int) -> str:
    """Which p-values so few seeds can give, and how many seeds would do."""
    seeds = "1 seed gives" if one.pairs == 1 else f"{one.pairs} seeds give"
    text = f"{seeds} no p-value below {least_p(one.pairs):.4g}; {pairs_needed()} would do"
    return text if family == 1 else f"{text}, {pairs_needed(family)} for all {family} pairs"


def _source(scale: Scale) -> str:
    if scale.classifies:
        return f"the standard error of a share of {scale.test_sequences} test sequences"
    return "which the order of a summation may change"


def _p_text(one: Comparison, family: int) -> str:
    return f"p = {one.p:.3g}" + (f", {one.adjusted:.3g} adjusted" if family > 1 else "")
