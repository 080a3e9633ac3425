"""Variants over several tasks: normalised scores, performance profiles, average ranks."""

from __future__ import annotations

from dataclasses import dataclass


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
