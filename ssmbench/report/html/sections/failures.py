"""Runs without a score, and combinations that were not run."""

from __future__ import annotations

from ssmbench.report.contents import Contents
from ssmbench.report.history import Failure
from ssmbench.report.html.markup import Part, element
from ssmbench.report.html.section import Section, section
from ssmbench.report.html.series import Series
from ssmbench.report.html.table import Cell, Column, Line, figure, table


def failures(contents: Contents, series: Series) -> Section | None:
    """A table of the runs, and the refused combinations with their reasons."""
    found = [failure for task in contents.tasks for failure in task.failures]
    parts: list[Part] = []
    if found:
        columns = [
            Column("Variant"),
            Column("Task"),
            Column("Seed", "number"),
            Column("Outcome"),
            Column("Reason", "words"),
            Column("Run"),
        ]
        lines = [_line(one, series) for one in found]
        parts.append(table("Runs without a score", columns, lines))
    if contents.refused:
        items = (
            element("li", f"{', '.join(one.combinations)}: {one.reason}")
            for one in contents.refused
        )
        parts += [element("h3", "Refused before they ran"), element("ul", *items)]
    return section("failures", "Divergences and failures", None, parts)


def _line(one: Failure, series: Series) -> Line:
    run = element("code", one.fingerprint)
    where = f" ({one.source})" if one.source else None
    cells = (
        Cell(one.task),
        figure(one.seed),
        Cell(one.outcome, kind="bad"),
        Cell(one.reason or "not known", kind="" if one.reason else "missing"),
        Cell(element("span", run, where)),
    )
    return Line(series.name(one), cells, (series.number(one.variant),))
