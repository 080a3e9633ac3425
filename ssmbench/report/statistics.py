"""Aggregate results over seeds: one row per task, variant and discretizer."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ssmbench.report.collect import RunRecord
from ssmbench.results import FurtherTest, Gains, NetworkGains, Result

_LAYER_FIGURES = (
    *("promised", "declared", "verified", "attacked"),
    *("spectral_radius", "frozen"),
)


@dataclass(frozen=True)
class Row:
    """Figures of one variant on one task over its seeds.

    Scores are the mean and sample standard deviation over finished runs; gains and radii are the
    worst over complete runs. ``None`` means that there is no such figure. Only time-varying layers
    have ``frozen``, a gain at sampled times without a certificate, and a ``note`` on it.
    ``unproved`` names the figures that are unproved estimates in at least one run.
    """

    task: str
    variant: str
    discretizer: str
    runs: int
    finished: int
    diverged: int
    failed: int
    outcome: str
    metric: str
    unit: str
    higher_is_better: bool
    score_mean: float | None
    score_spread: float | None
    promised: float | None
    declared: float | None
    verified: float | None
    attacked: float | None
    spectral_radius: float | None
    network_declared: float | None
    network_bound: float | None
    network_reason: str
    network_attacked: float | None
    parameters: int | None
    steps_per_second: float | None
    violations: tuple[str, ...]
    frozen: float | None = None
    note: str = ""
    unproved: tuple[str, ...] = ()


def rows(records: Iterable[RunRecord]) -> list[Row]:
    """One row per (task, variant, discretizer), in the order of first appearance."""
    groups: dict[tuple[str, str, str], list[RunRecord]] = {}
    for record in records:
        groups.setdefault((record.task, record.variant, record.discretizer), []).append(record)
    return [_row(group) for group in groups.values()]


def _row(group: list[RunRecord]) -> Row:
    first = group[0]
    results = [record.result for record in group if record.result]
    finished = [result for result in results if not result.diverged]
    return Row(
        task=first.task,
        variant=first.variant,
        discretizer=first.discretizer,
        runs=len(group),
        finished=len(finished),
        diverged=len(results) - len(finished),
        failed=sum(record.state == "failed" for record in group),
        outcome=_outcome(group),
        parameters=results[0].parameters if results else None,
        steps_per_second=_mean(result.steps_per_second for result in results),
        **_metric(results),
        **_mean_and_spread([r.scores.test for r in finished if r.scores is not None]),
        **_layer_figures([result.gain for result in results]),
        **_network_figures([result.gain.network for result in results]),
    )


def _metric(results: list[Result]) -> dict[str, Any]:
    if not results:
        return {"metric": "", "unit": "", "higher_is_better": True}
    task = results[0].task
    return {"metric": task.metric, "unit": task.unit, "higher_is_better": task.higher_is_better}


def _mean_and_spread(scores: list[float]) -> dict[str, float | None]:
    return {
        "score_mean": statistics.fmean(scores) if scores else None,
        "score_spread": statistics.stdev(scores) if len(scores) > 1 else None,
    }


def _layer_figures(gains: list[Gains]) -> dict[str, Any]:
    return {
        **{name: _worst(getattr(g, name) for g in gains) for name in _LAYER_FIGURES},
        "violations": tuple(v for g in gains for v in g.violations),
        "note": gains[0].note if gains else "",
        "unproved": tuple(sorted({name for g in gains for name in g.unproved})),
    }


def _network_figures(gains: list[NetworkGains]) -> dict[str, Any]:
    reasons = [gain.reason for gain in gains if gain.reason]
    return {
        "network_declared": _worst(gain.declared for gain in gains),
        "network_bound": _worst(gain.bound for gain in gains),
        "network_attacked": _worst(gain.attacked for gain in gains),
        "network_reason": reasons[0] if reasons else "",
    }


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
    return RobustnessRow(*key, runs=len(scores), **_mean_and_spread(_complete(scores)))


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
        state_norm=_worst(max(test.state_norms, default=None) for test in tests),
        **_mean_and_spread(_complete([test.score for test in tests])),
    )


def _outcome(group: list[RunRecord]) -> str:
    """``finished``, or the outcomes of the runs that did not finish."""
    words = []
    for record in group:
        if record.result and record.result.diverged:
            words.append(f"diverged at step {record.result.diverged_at}")
        elif not record.result:
            words.append(record.state)
    if not words:
        return "finished"
    prefix = "" if len(words) == len(group) else f"{len(group) - len(words)} finished, "
    return prefix + ", ".join(dict.fromkeys(words))


def _worst(values: Iterable[float | None]) -> float | None:
    """The largest value; None unless every run has the figure."""
    known = _complete(list(values))
    return max(known) if known else None


def _complete(values: list[float | None]) -> list[float]:
    """The values; an empty list if one of them is missing."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []


def _mean(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None and math.isfinite(v)]
    return statistics.fmean(known) if known else None
