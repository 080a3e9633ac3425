"""Measures of the SSM layers beside their gains."""

from __future__ import annotations

from ssmbench.report.contents import Contents, TaskContents
from ssmbench.report.html.markup import Part
from ssmbench.report.html.section import Section, note, section
from ssmbench.report.html.series import Series
from ssmbench.report.html.table import Cell, Column, Line, figure, table

_INTRODUCTION = (
    "What analysis.measures asks of every SSM layer, and what a parametrization declares; the "
    "worst over layers and seeds. Proved: what holds of all layers. Attacked: what a signal, or a "
    "search, reached in a simulation."
)


def measures(contents: Contents, series: Series) -> Section | None:
    """For each task a line for every variant and measure."""
    parts = [_task(task, series) for task in contents.tasks if task.measures]
    return section("measures", "Further measures of layers", note(_INTRODUCTION), parts)


def _task(task: TaskContents, series: Series) -> Part:
    columns = [
        Column("Variant"),
        Column("Measure"),
        *(Column(title, "number") for title in ("Declared", "Value", "Proved", "Attacked")),
        Column("Note", "words"),
    ]
    lines = [
        Line(
            series.name(row),
            (
                Cell(f"{row.measure} [{row.unit}]" if row.unit else row.measure),
                *(
                    figure(value, alarm=False)
                    for value in (row.declared, row.value, row.proved, row.attacked)
                ),
                Cell(row.note),
            ),
            (series.number(row.variant),),
        )
        for row in task.measures
    ]
    return table(f"{task.name}: measures", columns, lines)
