"""The figures of a report as CSV, unrounded; ``none`` stands for a missing figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from ssmbench.report.certified import CertifiedRow
from ssmbench.report.comparisons import Comparison
from ssmbench.report.contents import Contents
from ssmbench.report.curves import FurtherRow, RobustnessRow
from ssmbench.report.measures import MeasureRow
from ssmbench.report.published import PublishedRow
from ssmbench.report.statistics import Row, SeedScore


def spreadsheets(contents: Contents) -> dict[str, str]:
    """The text of each file by name; those of tables without a line are left out."""
    tasks = contents.tasks
    tables: Mapping[str, tuple[type, Sequence[Any]]] = {
        "comparisons.csv": (Comparison, [one for task in tasks for one in task.comparisons]),
        "robustness.csv": (
            RobustnessRow,
            [one for task in tasks for one in (*task.robustness, *task.floor)],
        ),
        "certified.csv": (CertifiedRow, [one for task in tasks for one in task.certified]),
        "further_tests.csv": (FurtherRow, [one for task in tasks for one in task.further]),
        "measures.csv": (MeasureRow, [one for task in tasks for one in task.measures]),
        "published.csv": (PublishedRow, [one for task in tasks for one in task.published]),
    }
    return {
        "report.csv": to_csv(contents.rows),
        "runs.csv": runs_csv(contents.rows),
        **{name: to_csv(table, kind) for name, (kind, table) in tables.items() if table},
    }


def to_csv(table: Iterable[Any], kind: type = Row) -> str:
    """One line for each value of the dataclass ``kind``, with a column for each field."""
    names = [field.name for field in fields(kind)]
    return _csv(names, ([getattr(row, name) for name in names] for row in table))


def runs_csv(table: Iterable[Row]) -> str:
    """One line for each run, with its place in the grid and its metric."""
    place = ("task", "variant", "discretizer", "metric", "unit")
    names = [field.name for field in fields(SeedScore)]
    lines = (
        [*(getattr(row, name) for name in place), *(getattr(seed, name) for name in names)]
        for row in table
        for seed in row.seeds
    )
    return _csv([*place, *names], lines)


def _csv(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(header)
    writer.writerows([_flat(value) for value in line] for line in lines)
    return out.getvalue()


def _flat(value: Any) -> Any:
    if isinstance(value, tuple):
        value = "; ".join(map(_item, value))
    return "none" if value is None or value == "" else value


def _item(value: Any) -> str:
    if isinstance(value, SeedScore):
        return f"{value.seed}: {value.outcome if value.score is None else value.score}"
    return str(value)
