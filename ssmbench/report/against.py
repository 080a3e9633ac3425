"""The same cells in two suites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ssmbench.report.aggregates import mean
from ssmbench.report.collect import RunRecord
from ssmbench.report.comparisons import Comparison, compared, judged
from ssmbench.report.scale import Scale
from ssmbench.report.statistics import Row, rows, scales
from ssmbench.suite.selection import names_of

#: The figures of a row that are compared.
GAINS = (
    *("declared", "verified", "attacked"),
    *("network_declared", "network_bound", "network_attacked"),
)


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


def against(
    here: Sequence[RunRecord], there: Sequence[RunRecord], names: tuple[str, str]
) -> Against:
    """The first records minus the second, cell by cell."""
    known = scales(here)
    others = {(row.task, *row.key): row for row in rows(there)}
    pairs = [(row, others[key]) for row in rows(here) if (key := (row.task, *row.key)) in others]
    found = [_compared(one, other, known.get(one.task), names) for one, other in pairs]
    first, second = _cells(here), _cells(there)
    return Against(
        name=names[0],
        other=names[1],
        rows=tuple(
            _row(*pair, comparison)
            for pair, comparison in zip(pairs, _judged(found, known), strict=True)
        ),
        only_here=tuple(cell for cell in first if cell not in second),
        only_there=tuple(cell for cell in second if cell not in first),
        warnings=tuple(different_tasks({names[0]: here, names[1]: there}).values()),
    )


def _cells(records: Iterable[RunRecord]) -> dict[str, None]:
    return dict.fromkeys(
        names_of(one.task, one.variant, one.discretizer, one.seed)[-1] for one in records
    )


def _compared(
    one: Row, other: Row, scale: Scale | None, names: tuple[str, str]
) -> Comparison | None:
    seeds = sorted(one.scores.keys() & other.scores.keys())
    if scale is None or not seeds:
        return None
    scores = [[row.scores[seed] for seed in seeds] for row in (one, other)]
    return compared(one.task, ((names[0], ""), (names[1], "")), scores[0], scores[1], scale)


def _judged(
    found: Sequence[Comparison | None], known: Mapping[str, Scale]
) -> list[Comparison | None]:
    """With verdicts; the comparisons on one task are one family."""
    result: list[Comparison | None] = list(found)
    for task, scale in known.items():
        mine = [(i, one) for i, one in enumerate(found) if one is not None and one.task == task]
        verdicts = judged([one for _, one in mine], scale)
        for (place, _), verdict in zip(mine, verdicts, strict=True):
            result[place] = verdict
    return result


def _row(here: Row, there: Row, comparison: Comparison | None) -> AgainstRow:
    seeds = here.scores.keys() & there.scores.keys()
    means = [mean(row.scores[seed] for seed in sorted(seeds)) for row in (here, there)]
    gains = [GainChange(name, getattr(here, name), getattr(there, name)) for name in GAINS]
    return AgainstRow(here.task, *here.key, means[0], means[1], comparison, tuple(gains))


def different_tasks(suites: Mapping[str, Iterable[RunRecord]]) -> dict[str, str]:
    """A sentence for every task whose data or metric are not the same in all suites, by task."""
    found: dict[str, dict[str, dict[str, None]]] = {}
    for suite, records in suites.items():
        for task, facts in task_facts(records).items():
            found.setdefault(task, {}).setdefault(facts, {})[suite] = None
    return {
        task: f"{task} is not the same task everywhere: "
        + "; ".join(f"{', '.join(names)} has {facts}" for facts, names in kinds.items())
        for task, kinds in found.items()
        if len(kinds) > 1
    }


def task_facts(records: Iterable[RunRecord]) -> dict[str, str]:
    """What makes scores of a task comparable, by task: its metric and its data."""
    facts: dict[str, str] = {}
    for record in records:
        if record.result and record.task not in facts:
            about = record.result.task
            data = f"data {about.data_digest}" if about.data_digest else "data of unknown digest"
            facts[record.task] = f"{about.metric} on {data}"
    return facts
