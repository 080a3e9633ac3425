"""Scores of publications, which were not run here."""

from __future__ import annotations

from ssmbench.report.contents import Contents
from ssmbench.report.html.markup import element
from ssmbench.report.html.numbers import score
from ssmbench.report.html.section import Section, note, section
from ssmbench.report.html.series import Series
from ssmbench.report.html.table import Cell, Column, Line, figure, table
from ssmbench.report.published import PublishedRow

_INTRODUCTION = (
    "As the publications report them on this test data; none was run here. Selected on: the part "
    "of the data on which the publication chose weights and options. What was chosen on test "
    "data is not a score of unseen data."
)


def published(contents: Contents, series: Series) -> Section | None:
    """One table for all tasks, the best of each first."""
    lines = [_line(one) for task in contents.tasks for one in task.published]
    columns = [
        Column("Published model"),
        Column("Task"),
        Column("Published score", "number"),
        Column("Metric"),
        Column("Test set"),
        Column("Selected on"),
        Column("Source", "words"),
        Column("Note", "words"),
    ]
    tables = [table("Published scores", columns, lines)] if lines else []
    return section("published", "Published scores", note(_INTRODUCTION), tables)


def _line(one: PublishedRow) -> Line:
    cells = (
        Cell(one.task),
        figure(one.score, score(one.score)),
        Cell(one.metric + (f" [{one.unit}]" if one.unit else "")),
        Cell(one.test_set),
        Cell(one.selected_on, kind="bad" if one.selected_on == "test" else ""),
        Cell(_source(one.source)),
        Cell(one.note),
    )
    return Line(Cell(one.model), cells)


def _source(text: str) -> str:
    return element("a", text, href=text) if text.startswith("https://") else text
