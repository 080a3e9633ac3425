"""Everything that a report shows, computed once; writers only format it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ssmbench.report.against import Against
from ssmbench.report.certified import CertifiedRow, certified_rows, floor_rows
from ssmbench.report.collect import RunRecord
from ssmbench.report.comparisons import Comparison, comparisons
from ssmbench.report.curves import FurtherRow, RobustnessRow, further_rows, robustness_rows
from ssmbench.report.history import Failure, TaskHistory, failures, task_history
from ssmbench.report.measures import MeasureRow, measure_rows
from ssmbench.report.over_tasks import OverTasks, TaskScores, over_tasks
from ssmbench.report.published import PublishedRow, published_rows
from ssmbench.report.scale import Scale
from ssmbench.report.statistics import Row, rows, scales
from ssmbench.report.summary import summary
from ssmbench.report.trade_off import TradeOffPoint, trade_off

#: Version of the keys of report.json; raised when one changes its meaning or goes.
SCHEMA = 1


@dataclass(frozen=True)
class Refused:
    """Combinations that ``discretizers: all`` left out, for one reason."""

    combinations: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class About:
    """What a report is of. ``sources``: the names of the suites, where several are joined;
    ``warnings``: what a reader must know before all else, a sentence each."""

    name: str
    sources: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskContents:
    """One task.

    ``scale``: which way its score goes; None if no run is complete. ``summary``: sentences on data,
    baselines and devices. ``rows``: the leaderboard, the best first and those without a score last.
    ``verified`` and ``network``: scores against gains of the layers and of the network.
    ``floor``: the certified accuracy of nearest neighbours.
    ``notes``, ``violations``: sentences, each with the variant that it is on.
    """

    name: str
    scale: Scale | None
    summary: tuple[str, ...]
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    verified: tuple[TradeOffPoint, ...]
    network: tuple[TradeOffPoint, ...]
    robustness: tuple[RobustnessRow, ...]
    certified: tuple[CertifiedRow, ...]
    floor: tuple[RobustnessRow, ...]
    further: tuple[FurtherRow, ...]
    measures: tuple[MeasureRow, ...]
    published: tuple[PublishedRow, ...]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]
    violations: tuple[str, ...]
    history: TaskHistory | None


@dataclass(frozen=True)
class Contents:
    """A whole report. ``over_tasks``: None with one task; ``against``: another suite, if asked."""

    name: str
    sources: tuple[str, ...]
    warnings: tuple[str, ...]
    tasks: tuple[TaskContents, ...]
    over_tasks: OverTasks | None
    refused: tuple[Refused, ...]
    against: Against | None = None
    schema: int = field(default=SCHEMA)

    @property
    def rows(self) -> list[Row]:
        """The rows of all tasks."""
        return [row for task in self.tasks for row in task.rows]


def contents(
    records: Iterable[RunRecord], about: About, against: Against | None = None
) -> Contents:
    """Everything that the report of some runs shows."""
    records = list(records)
    table, known = rows(records), scales(records)
    tasks = tuple(
        _task(name, [r for r in records if r.task == name], table, known.get(name))
        for name in dict.fromkeys(record.task for record in records)
    )
    return Contents(
        name=about.name,
        sources=about.sources,
        warnings=about.warnings,
        tasks=tasks,
        over_tasks=over_tasks(
            [TaskScores(t.name, t.scale, t.rows, t.published) for t in tasks if t.scale]
        ),
        refused=about.refused,
        against=against,
    )


def _task(
    name: str, records: Sequence[RunRecord], table: Iterable[Row], scale: Scale | None
) -> TaskContents:
    mine = sorted(
        (row for row in table if row.task == name),
        key=lambda row: (row.rank is None, row.rank or 0),
    )
    return TaskContents(
        name=name,
        scale=scale,
        summary=summary(records, scale),
        rows=tuple(mine),
        comparisons=tuple(comparisons(mine, scale)),
        verified=tuple(trade_off(mine, "verified")),
        network=tuple(trade_off(mine, "network_bound")),
        robustness=tuple(robustness_rows(records)),
        certified=tuple(certified_rows(records)),
        floor=tuple(floor_rows(records)),
        further=tuple(further_rows(records)),
        measures=tuple(measure_rows(records)),
        published=tuple(published_rows(records)),
        failures=tuple(failures(records)),
        notes=tuple(f"{label(row)}: {row.note}" for row in mine if row.note),
        violations=tuple(f"{label(row)}: {v}" for row in mine for v in row.violations),
        history=task_history(records),
    )


def label(row: Row) -> str:
    """How sentences call a row: its variant, with the discretizer if it has one."""
    return row.variant if row.discretizer == "none" else f"{row.variant} with {row.discretizer}"


def refused_of(refusals: Iterable[Mapping[str, Any]]) -> tuple[Refused, ...]:
    """The refusals that a suite's record has, one for each reason."""
    names: dict[str, list[str]] = {}
    for one in refusals:
        names.setdefault(one["reason"], []).append(f"{one['variant']} with {one['discretizer']}")
    return tuple(Refused(tuple(pairs), reason) for reason, pairs in names.items())
