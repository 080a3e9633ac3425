"""The same cells in two suites."""

from __future__ import annotations

from dataclasses import dataclass

from ssmbench.report.comparisons import Comparison


@dataclass(frozen=True)
class GainChange:
    """One gain of a row in this suite and in the other one; None where there is none."""

    name: str
    here: float | None
    there: float | None


@dataclass(frozen=True)
class AgainstRow:
    """One variant on one task in both suites.

    ``comparison``: its scores here minus those there, paired by seed, None without a common
    finished seed; its names are those of the suites. ``here`` and ``there``: the means over the
    common seeds.
    """

    task: str
    variant: str
    discretizer: str
    here: float | None
    there: float | None
    comparison: Comparison | None
    gains: tuple[GainChange, ...]


@dataclass(frozen=True)
class Against:
    """This suite against another one: cells (task, variant, discretizer, seed) in both, and the
    labels of those in only one. ``warnings``: tasks that are not the same data."""

    name: str
    other: str
    rows: tuple[AgainstRow, ...]
    only_here: tuple[str, ...]
    only_there: tuple[str, ...]
    warnings: tuple[str, ...]
