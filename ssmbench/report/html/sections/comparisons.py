"""Paired comparisons between variants."""

from __future__ import annotations

from collections import Counter

from ssmbench.report.comparisons import VERDICTS, Comparison
from ssmbench.report.contents import Contents, TaskContents
from ssmbench.report.html.markup import Part, element
from ssmbench.report.html.numbers import count, number
from ssmbench.report.html.section import Section, note, section
from ssmbench.report.html.series import Series
from ssmbench.report.html.table import Cell, Column, Line, figure, table

_INTRODUCTION = (
    "Every two variants of a task, paired by seed: the mean difference, first minus second, with "
    "its 95% bootstrap interval, and the two-sided p-value of a permutation test over all sign "
    "flips, adjusted by Holm's method over the pairs of the task. "
)


def comparisons(contents: Contents, series: Series) -> Section | None:
    """A table for each task with two variants or more."""
    parts = [part for task in contents.tasks for part in _task(task, series)]
    words = " ".join(f"“{verdict}”: {meaning}." for verdict, meaning in VERDICTS.items())
    return section("comparisons", "Paired comparisons", note(_INTRODUCTION, words), parts)


def _task(task: TaskContents, series: Series) -> list[Part]:
    if not task.comparisons:
        return []
    columns = [
        Column("Compared"),
        Column("Verdict"),
        Column("Difference", "number", True),
        Column("95% interval", "number", sortable=False),
        Column("Seeds", "number", True),
        Column("Adjusted p", "number"),
    ]
    reasons = {one.reason for one in task.comparisons}
    if len(reasons) > 1:
        columns.append(Column("Why", "words", sortable=False))
    verdicts = Counter(one.verdict for one in task.comparisons)
    summary = ", ".join(f"{number_of} {verdict}" for verdict, number_of in verdicts.most_common())
    if len(reasons) == 1:
        summary += f" ({reasons.pop()})"
    lines = [_line(one, series, len(columns) - 1) for one in task.comparisons]
    return [
        element("h3", task.name),
        element("p", f"{count(len(lines), 'pair')}: {summary}."),
        table("Every pair", columns, lines, of=task.name),
    ]


def _name(key: tuple[str, str]) -> str:
    return key[0] if key[1] == "none" else f"{key[0]} ({key[1]})"


def _line(one: Comparison, series: Series, cells_shown: int) -> Line:
    interval = "none"
    if one.low is not None:
        interval = f"{number(one.low)} to {number(one.high)}"
    names = (_name(one.one), _name(one.other))
    verdict = one.verdict if one.better is None else f"{names[one.better]} better"
    cells = (
        Cell(verdict, kind="missing" if one.better is None else "good"),
        figure(one.difference),
        Cell(interval, kind="missing" if one.low is None else ""),
        figure(one.pairs),
        figure(one.adjusted),
        Cell(one.reason),
    )
    numbers = {series.number(variant) for variant, _ in (one.one, one.other)}
    return Line(Cell(f"{names[0]} against {names[1]}"), cells[:cells_shown], tuple(sorted(numbers)))
