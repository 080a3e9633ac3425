"""The same cells in another suite."""

from __future__ import annotations

from ssmbench.report.against import Against, AgainstRow
from ssmbench.report.contents import Contents
from ssmbench.report.html.markup import Part, element
from ssmbench.report.html.numbers import number, score
from ssmbench.report.html.section import Section, note, section, sentences
from ssmbench.report.html.series import Series
from ssmbench.report.html.table import Cell, Column, Line, figure, table


def against(contents: Contents, series: Series) -> Section | None:
    """A table of what both suites have, and what only one of them has."""
    about = contents.against
    if about is None:
        return None
    text = f"Means over the seeds that both have; differences are {about.name} minus {about.other}."
    parts: list[Part] = [sentences(about.warnings, "alarm")]
    if about.rows:
        parts.append(_table(about, series))
    for name, labels in ((about.name, about.only_here), (about.other, about.only_there)):
        if labels:
            parts.append(element("p", f"Only in {name}: {', '.join(labels)}."))
    return section("against", f"Against {about.other}", note(text), parts)


def _table(about: Against, series: Series) -> Part:
    gains = list(dict.fromkeys(gain.name for row in about.rows for gain in row.gains))
    columns = [
        Column("Variant"),
        Column("Task"),
        Column(about.name, "number"),
        Column(about.other, "number"),
        Column("Difference", "number"),
        Column("95% interval", "number", sortable=False),
        Column("Verdict"),
        *(Column(f"{name}, there to here", "number", sortable=False) for name in gains),
    ]
    lines = [_line(row, gains, series) for row in about.rows]
    return table(f"{about.name} against {about.other}", columns, lines)


def _line(row: AgainstRow, names: list[str], series: Series) -> Line:
    found = row.comparison
    low = None if found is None else found.low
    interval = "none" if found is None or low is None else f"{number(low)} to {number(found.high)}"
    gains = {gain.name: f"{number(gain.there)} → {number(gain.here)}" for gain in row.gains}
    cells = (
        Cell(row.task),
        figure(row.here, score(row.here)),
        figure(row.there, score(row.there)),
        figure(found.difference if found else None),
        Cell(interval, kind="missing" if low is None else ""),
        Cell(found.verdict if found else "none", kind="" if found else "missing"),
        *(Cell(gains.get(name, "none")) for name in names),
    )
    return Line(series.name(row), cells, (series.number(row.variant),))
