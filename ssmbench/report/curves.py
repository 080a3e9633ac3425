"""Scores under disturbances, and where one quantity differs from the training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ssmbench.report.aggregates import complete, mean_and_spread, worst
from ssmbench.report.collect import RunRecord
from ssmbench.results import FurtherTest


@dataclass(frozen=True)
class RobustnessRow:
    """Score of one variant under disturbances of one kind and energy, over finished runs.

    ``energy`` is the disturbance's l2 norm relative to a typical input's. The mean is None if the
    prediction of a run was not finite; the spread is None for a single run.
    """

    task: str
    variant: str
    discretizer: str
    kind: str
    energy: float
    runs: int
    score_mean: float | None
    score_spread: float | None


def robustness_rows(records: Iterable[RunRecord]) -> list[RobustnessRow]:
    """One row per (task, variant, discretizer, kind, energy), in the order of first appearance."""
    groups: dict[tuple[Any, ...], list[float | None]] = {}
    for record in records:
        if record.result and not record.result.diverged:
            for point in record.result.robustness:
                key = (record.task, record.variant, record.discretizer)
                key += (point.kind, point.energy)
                groups.setdefault(key, []).append(point.score)
    return [_robustness_row(key, scores) for key, scores in groups.items()]


def _robustness_row(key: tuple[Any, ...], scores: list[float | None]) -> RobustnessRow:
    return RobustnessRow(*key, runs=len(scores), **mean_and_spread(complete(scores)))


@dataclass(frozen=True)
class FurtherRow:
    """Score of one variant where one quantity differs from the training, over finished runs.

    ``state_norm``: the largest over runs and layers, relative to that on the test set.
    ``diverged``: the number of runs in which a prediction or a state was not finite. The mean is
    None if a prediction of a run was not finite; the spread is None for a single run.
    """

    task: str
    variant: str
    discretizer: str
    quantity: str
    value: float
    runs: int
    diverged: int
    state_norm: float | None
    score_mean: float | None
    score_spread: float | None


def further_rows(records: Iterable[RunRecord]) -> list[FurtherRow]:
    """One row per (task, variant, discretizer, quantity, value), values in increasing order."""
    groups: dict[tuple[Any, ...], list[FurtherTest]] = {}
    for record in records:
        for test in record.result.further_tests if record.result else ():
            if test.value is not None:
                key = (record.task, record.variant, record.discretizer, test.quantity, test.value)
                groups.setdefault(key, []).append(test)
    places = {key[:4]: place for place, key in reversed(list(enumerate(groups)))}
    ordered = sorted(groups, key=lambda key: (places[key[:4]], key[4]))
    return [_further_row(key, groups[key]) for key in ordered]


def _further_row(key: tuple[Any, ...], tests: list[FurtherTest]) -> FurtherRow:
    return FurtherRow(
        *key,
        runs=len(tests),
        diverged=sum(test.diverged for test in tests),
        state_norm=worst(max(test.state_norms, default=None) for test in tests),
        **mean_and_spread(complete([test.score for test in tests])),
    )
