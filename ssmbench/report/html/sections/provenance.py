"""Where the figures are from."""

from __future__ import annotations

from ssmbench.report.contents import Contents, TaskContents
from ssmbench.report.history import Fact
from ssmbench.report.html.markup import Part, element
from ssmbench.report.html.numbers import count, duration
from ssmbench.report.html.section import Section, note, section, sentences
from ssmbench.report.html.series import Series
from ssmbench.report.html.table import Cell, Column, Line, table


def provenance(contents: Contents, series: Series) -> Section | None:
    """For each task a table of what its runs were computed with."""
    parts = [part for task in contents.tasks for part in _task(task)]
    return section("provenance", "Provenance", None, parts)


def _task(task: TaskContents) -> list[Part]:
    about = task.history
    if about is None:
        return []
    resumed = f", {about.resumed} of them resumed" if about.resumed else ""
    summary = (
        f"{count(about.runs, 'complete run')} in {count(about.sittings, 'sitting')}{resumed}; "
        f"{duration(about.seconds)} of wall time in total."
    )
    columns = [Column("What"), Column("Value", "words")]
    return [
        element("h3", task.name),
        element("p", summary),
        note("Not the same in all of these runs:") if about.differences else None,
        sentences(about.differences),
        table("What the runs were computed with", columns, map(_line, about.facts), of=task.name),
    ]


def _line(fact: Fact) -> Line:
    values = [
        one.value + (f" ({count(one.runs, 'run')})" if fact.differs else "") for one in fact.values
    ]
    return Line(Cell(fact.name), (Cell("; ".join(values)),))
