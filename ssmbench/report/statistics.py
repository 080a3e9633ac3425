"""From results to the rows of a comparison: one row a task, variant and discretizer."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ssmbench.report.collect import RunRecord


@dataclass(frozen=True)
class Row:
    """Figures of one variant on one task over its seeds.

    Scores are the mean and sample standard deviation over finished runs; gains and radii are the
    worst over complete runs. ``None`` means that there is no such figure. ``frozen``, and a
    ``note`` on it, are of time-varying layers only: a gain at sampled times, no certificate.
    ``unproved`` names the figures that are estimates in some run, for want of a proof.
    """

    task: str
    variant: str
    discretizer: str
    runs: int
    finished: int
    diverged: int
    failed: int
    outcome: str
    score: str
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
    """One row a (task, variant, discretizer), in the order of first appearance."""
    groups: dict[tuple[str, str, str], list[RunRecord]] = {}
    for record in records:
        groups.setdefault((record.task, record.variant, record.discretizer), []).append(record)
    return [_row(group) for group in groups.values()]


def _row(group: list[RunRecord]) -> Row:
    first = group[0]
    results = [record.result for record in group if record.result]
    finished = [r for r in results if r["status"] == "finished"]
    scores = [r["scores"]["test"] for r in finished]
    gains = [r["gain"] for r in results]
    task = results[0]["task"] if results else {}
    reasons = [g["network"]["reason"] for g in gains if g["network"]["reason"]]
    return Row(
        task=first.task,
        variant=first.variant,
        discretizer=first.discretizer,
        runs=len(group),
        finished=len(finished),
        diverged=sum(r["status"] == "diverged" for r in results),
        failed=sum(record.state == "failed" for record in group),
        outcome=_outcome(group),
        score=task.get("score", ""),
        unit=task.get("unit", ""),
        higher_is_better=task.get("higher_is_better", True),
        score_mean=statistics.fmean(scores) if scores else None,
        score_spread=statistics.stdev(scores) if len(scores) > 1 else None,
        promised=_worst(g.get("promised") for g in gains),
        declared=_worst(g["declared"] for g in gains),
        verified=_worst(g["verified"] for g in gains),
        attacked=_worst(g["attacked"] for g in gains),
        spectral_radius=_worst(g["spectral_radius"] for g in gains),
        network_declared=_worst(g["network"].get("declared") for g in gains),
        network_bound=_worst(g["network"]["bound"] for g in gains),
        network_reason=reasons[0] if reasons else "",
        network_attacked=_worst(g["network"]["attacked"] for g in gains),
        parameters=results[0]["parameters"] if results else None,
        steps_per_second=_mean(r["steps_per_second"] for r in results),
        violations=tuple(v for g in gains for v in g["violations"]),
        frozen=_worst(g.get("frozen") for g in gains),
        note=gains[0].get("note", "") if gains else "",
        unproved=tuple(sorted({name for g in gains for name in g.get("unproved", ())})),
    )


@dataclass(frozen=True)
class RobustnessRow:
    """Score of one variant under disturbances of one kind and energy, over finished runs.

    ``energy`` is the disturbance's l2 norm relative to a typical input's. No mean where the
    prediction of a run was not finite, no spread for a single run.
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
    """One row a (task, variant, discretizer, kind, energy), in the order of first appearance."""
    groups: dict[tuple[Any, ...], list[float | None]] = {}
    for record in records:
        if record.result and record.result["status"] == "finished":
            for point in record.result.get("robustness", ()):
                key = (record.task, record.variant, record.discretizer)
                key += (point["kind"], point["energy"])
                groups.setdefault(key, []).append(point["score"])
    return [_robustness_row(key, scores) for key, scores in groups.items()]


def _robustness_row(key: tuple[Any, ...], scores: list[float | None]) -> RobustnessRow:
    whole = None not in scores
    return RobustnessRow(
        *key,
        runs=len(scores),
        score_mean=statistics.fmean(scores) if whole else None,
        score_spread=statistics.stdev(scores) if whole and len(scores) > 1 else None,
    )


def _outcome(group: list[RunRecord]) -> str:
    """``finished``, or what became of the runs that did not finish."""
    words = []
    for record in group:
        if record.result and record.result["status"] == "diverged":
            words.append(f"diverged at step {record.result['diverged_at']}")
        elif not record.result:
            words.append(record.state)
    if not words:
        return "finished"
    prefix = "" if len(words) == len(group) else f"{len(group) - len(words)} finished, "
    return prefix + ", ".join(dict.fromkeys(words))


def _worst(values: Iterable[float | None]) -> float | None:
    """The largest, or None unless every run has the figure."""
    listed = list(values)
    return max(listed) if listed and None not in listed else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None and math.isfinite(v)]
    return statistics.fmean(known) if known else None
