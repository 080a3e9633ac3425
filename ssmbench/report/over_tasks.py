"""Variants over several tasks: normalised scores, performance profiles, average ranks.

A normalised score is 0 at the trivial baseline of the task, and 1 at the best score published on
its test split, or, where none is, at the best mean in the table. A run that diverged or failed has
0: leaving it out would favour variants that fail. Interquartile means and profiles need at least
:data:`FEWEST_TASKS` tasks with a baseline, and of a variant :data:`FEWEST_RUNS` runs that are over
on each of them; average ranks need :data:`FEWEST_RANKED` tasks.

Sources: Agarwal et al. (2021), Deep Reinforcement Learning at the Edge of the Statistical
Precipice (interquartile mean, stratified bootstrap, performance profiles); Demsar (2006),
Statistical Comparisons of Classifiers over Multiple Data Sets (ranks, Friedman, Nemenyi).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssmbench.report.published import PublishedRow
from ssmbench.report.resampling import CONFIDENCE, LEVEL
from ssmbench.report.scale import Scale
from ssmbench.report.statistics import Row

if TYPE_CHECKING:
    import numpy as np

FEWEST_TASKS, FEWEST_RUNS = 3, 3
#: Demsar's advice for Friedman's test.
FEWEST_RANKED = 8
_RESAMPLES = 2000
_THRESHOLDS = 41
_SEED = 0
_Key = tuple[str, str]


@dataclass(frozen=True)
class Overall:
    """One variant over all tasks that take part.

    ``iqm``: the interquartile mean of its normalised scores (0: the trivial baseline, 1: the best
    score published, else the best mean in the table), ``low`` and ``high`` its stratified bootstrap
    interval; ``runs``: how many there are. ``profile``: which share of the runs has a normalised
    score above each threshold of :attr:`OverTasks.thresholds`, with the interval's limits.
    """

    variant: str
    discretizer: str
    runs: int
    iqm: float
    low: float
    high: float
    profile: tuple[float, ...]
    profile_low: tuple[float, ...]
    profile_high: tuple[float, ...]


@dataclass(frozen=True)
class CriticalDifference:
    """Average ranks over tasks (1 is the best), with Friedman's test and Nemenyi's critical
    difference. ``groups``: maximal sets of variants, by place in ``variants``, whose ranks differ
    by less than ``difference``."""

    tasks: int
    variants: tuple[tuple[str, str], ...]
    ranks: tuple[float, ...]
    friedman_p: float
    difference: float
    groups: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class OverTasks:
    """What can be said over tasks. ``why_not``: why ``overall`` or ``ranks`` are missing, a
    sentence each; ``references``: what 1 is on each task."""

    tasks: tuple[str, ...]
    references: tuple[str, ...]
    thresholds: tuple[float, ...]
    overall: tuple[Overall, ...]
    ranks: CriticalDifference | None
    why_not: tuple[str, ...]


@dataclass(frozen=True)
class TaskScores:
    """What is needed of one task: its rows, its scale, and what is published on it."""

    name: str
    scale: Scale
    rows: Sequence[Row]
    published: Sequence[PublishedRow]


def over_tasks(tasks: Sequence[TaskScores]) -> OverTasks | None:
    """What can be said over the tasks of a suite; None of fewer than two."""
    if len(tasks) < 2:
        return None
    normalised, references = _normalised(tasks)
    why_not = []
    if len(references) < FEWEST_TASKS:
        why_not.append(
            f"interquartile means need {FEWEST_TASKS} tasks with a baseline below the best score; "
            f"this suite has {len(references)}"
        )
        normalised = {}
    elif not normalised:
        why_not.append(
            f"interquartile means need {FEWEST_RUNS} runs of a variant on each of the "
            f"{len(references)} tasks"
        )
    ranks, why_no_ranks = _ranks(tasks)
    highest = max((float(s.max()) for runs in normalised.values() for s in runs), default=1.0)
    thresholds = [max(1.0, highest) * i / (_THRESHOLDS - 1) for i in range(_THRESHOLDS)]
    overall = [_overall(key, runs, thresholds) for key, runs in normalised.items()]
    return OverTasks(
        tasks=tuple(references),
        references=tuple(references.values()),
        thresholds=tuple(thresholds),
        overall=tuple(sorted(overall, key=lambda one: -one.iqm)),
        ranks=ranks,
        why_not=(*why_not, *why_no_ranks),
    )


def _normalised(
    tasks: Sequence[TaskScores],
) -> tuple[dict[_Key, list[np.ndarray]], dict[str, str]]:
    """Normalised scores of the runs on every task, by variant; what 1 is, by task."""
    import numpy as np

    references: dict[str, str] = {}
    found: dict[_Key, list[np.ndarray]] = {}
    for task in tasks:
        best = _reference(task)
        if best is None:
            continue
        zero, one, references[task.name] = best
        for row in task.rows:
            scores = [
                zero if s.score is None else s.score for s in row.seeds if s.learned is not None
            ]
            if len(scores) >= FEWEST_RUNS:
                values = (np.asarray(scores) - zero) / (one - zero)
                found.setdefault(row.key, []).append(values)
    complete = {key: runs for key, runs in found.items() if len(runs) == len(references)}
    return complete, references


def _reference(task: TaskScores) -> tuple[float, float, str] | None:
    """The scores that become 0 and 1, and a sentence on the latter; None without a baseline, or
    where nothing is better."""
    zero, scale = task.scale.trivial_score, task.scale
    if zero is None or scale.learned_from is None:
        return None
    known = [(one.score, one.model) for one in task.published if one.test_set == "test"]
    if not known:
        known = [(row.score_mean, row.variant) for row in task.rows if row.score_mean is not None]
    if not known:
        return None
    score, name = (max if scale.higher_is_better else min)(known)
    if not scale.better(score, zero):
        return None
    published = "published, " if any(one.test_set == "test" for one in task.published) else ""
    return zero, score, f"{task.name}: {score:.4g} ({published}{name})"


def _overall(key: _Key, runs: Sequence[np.ndarray], thresholds: Sequence[float]) -> Overall:
    import numpy as np

    drawn, tail = _stratified(runs), 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(interquartile_mean(drawn), [tail, 100 - tail])
    profile = [_above(np.concatenate(runs)[None], t)[0] for t in thresholds]
    bands = np.array([np.percentile(_above(drawn, t), [tail, 100 - tail]) for t in thresholds])
    return Overall(
        variant=key[0],
        discretizer=key[1],
        runs=drawn.shape[1],
        iqm=float(interquartile_mean(np.concatenate(runs)[None])[0]),
        low=float(low),
        high=float(high),
        profile=tuple(map(float, profile)),
        profile_low=tuple(map(float, bands[:, 0])),
        profile_high=tuple(map(float, bands[:, 1])),
    )


def _stratified(runs: Sequence[np.ndarray]) -> np.ndarray:
    """Resamples of the runs, drawn within each task: (resamples, runs)."""
    import numpy as np

    random = np.random.default_rng(_SEED)
    return np.hstack(
        [scores[random.integers(len(scores), size=(_RESAMPLES, len(scores)))] for scores in runs]
    )


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """The mean of the middle half of each row."""
    from scipy.stats import trim_mean

    return trim_mean(values, 0.25, axis=1)


def _above(values: np.ndarray, threshold: float) -> np.ndarray:
    return (values > threshold).mean(axis=1)


def _ranks(tasks: Sequence[TaskScores]) -> tuple[CriticalDifference | None, list[str]]:
    """Average ranks of the variants with a mean score on every task, or why there are none."""
    if len(tasks) < FEWEST_RANKED:
        return None, [
            f"average ranks and a critical difference need {FEWEST_RANKED} tasks; this suite has "
            f"{len(tasks)}"
        ]
    by_task = [_means(task) for task in tasks]
    keys = [key for key in by_task[0] if all(key in means for means in by_task)]
    if len(keys) < 3:
        return None, ["average ranks need 3 variants with a score on every task"]
    return critical_difference(keys, [[means[key] for key in keys] for means in by_task]), []


def _means(task: TaskScores) -> Mapping[_Key, float]:
    """Mean scores, signed so that lower is better."""
    sign = -1 if task.scale.higher_is_better else 1
    return {row.key: sign * row.score_mean for row in task.rows if row.score_mean is not None}


def critical_difference(
    keys: Sequence[_Key], scores: Sequence[Sequence[float]]
) -> CriticalDifference:
    """Of ``scores`` (tasks, variants), lower is better; variants in the order of their ranks.

    The difference is q sqrt(k (k + 1) / (6 N)) for k variants and N tasks, q the quantile of the
    studentized range over sqrt(2) (Demsar 2006, section 3.2.2).
    """
    import numpy as np
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    table = np.asarray(scores, dtype=np.float64)
    tasks, k = table.shape
    ranks = rankdata(table, axis=1).mean(axis=0)
    order = [int(i) for i in np.argsort(ranks, kind="stable")]
    quantile = studentized_range.ppf(1 - LEVEL, k, np.inf) / np.sqrt(2)
    difference = float(quantile * np.sqrt(k * (k + 1) / (6 * tasks)))
    tied = bool((table == table[:, :1]).all())  # then the test divides by zero
    ordered = [float(ranks[i]) for i in order]
    return CriticalDifference(
        tasks=tasks,
        variants=tuple(keys[i] for i in order),
        ranks=tuple(ordered),
        friedman_p=1.0 if tied else float(friedmanchisquare(*table.T).pvalue),
        difference=difference,
        groups=_groups(ordered, difference),
    )


def _groups(ranks: Sequence[float], difference: float) -> tuple[tuple[int, ...], ...]:
    """Maximal runs of places, two or more, whose ranks (ascending) differ by less."""
    found: list[tuple[int, ...]] = []
    for first, rank in enumerate(ranks):
        last = max(i for i, other in enumerate(ranks) if other - rank < difference)
        group = tuple(range(first, last + 1))
        if len(group) > 1 and not (found and set(group) <= set(found[-1])):
            found.append(group)
    return tuple(found)
