"""Declared, verified and attacked gains side by side, of the layers and of the whole network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ssmbench.report.contents import Contents, TaskContents
from ssmbench.report.html.markup import Markup, Part, element
from ssmbench.report.html.numbers import number
from ssmbench.report.html.section import Section, section, sentences
from ssmbench.report.html.series import Series
from ssmbench.report.html.strip import Axis, Mark
from ssmbench.report.html.symbols import swatch
from ssmbench.report.html.table import Cell, Column, Line, figure, table
from ssmbench.report.statistics import Row

_KEYS = (
    ("bound", "mark-declared", "declared", "guaranteed by construction, for every input"),
    ("proved", "mark-verified", "verified", "computed from the trained matrices and proved"),
    ("unproved", "mark-verified", "unproved", "such a figure without its proof"),
    ("circle", "mark-attacked", "attacked", "the largest that an adversary reached"),
)
_INTRODUCTION = (
    "How much a disturbance of the input can grow, as an L2 gain. A promise holds if "
    "declared ≥ verified ≥ attacked. Figures are the largest over layers and seeds."
)
_LAYERS = (
    ("declared", "Declared", "the bound that the parametrization guarantees"),
    ("verified", "Verified", "H-infinity norm of the trained layer, proved to 1% or marked"),
    ("attacked", "Attacked", "the largest gain found on sequences of the task's length"),
)
_NETWORK = (
    ("network_declared", "Declared", "prescribed by model.gamma"),
    ("network_bound", "Bound", "composed from the verified layers"),
    ("network_attacked", "Attacked", "the largest incremental gain found"),
)


def gains(contents: Contents, series: Series) -> Section | None:
    """For each task a table of the layers' gains and one of the network's."""
    introduction = element("div", element("p", _INTRODUCTION, class_="note"), _keys())
    parts = [part for task in contents.tasks for part in _task(task, series)]
    return section("gains", "Gains: declared, verified, attacked", introduction, parts)


def _keys() -> Markup:
    items = (
        element("li", swatch(symbol, kind), element("span", element("b", name), f": {text}"))
        for symbol, kind, name, text in _KEYS
    )
    return element("ul", *items, class_="keys")


def _task(task: TaskContents, series: Series) -> list[Part]:
    measured = [row for row in task.rows if row.attacked is not None]
    if not measured:
        return []
    return [
        element("h3", task.name),
        sentences(task.violations, "alarm"),
        _network(task.name, measured, series),
        _layers(task.name, measured, series),
        sentences(task.notes),
    ]


def _layers(task: str, rows: Sequence[Row], series: Series) -> Markup:
    axis = _axis(rows, [name for name, *_ in _LAYERS])
    promised = any(row.promised is not None for row in rows)
    columns = [
        Column("Variant"),
        Column(element("span", "L2 gain of an SSM layer", axis.header), "strip", sortable=False),
        *(Column(title, "number", help=text) for _, title, text in _LAYERS),
        Column("Tightness", "number", True, help="verified / declared: 1 is a tight promise"),
        Column("Slack", "number", help="declared / attacked: 1 means that the promise is reached"),
        *([Column("Promised", "number", help="of the continuous system")] if promised else []),
        Column("Radius", "number", help="spectral radius: stable below 1"),
    ]
    lines = [
        Line(
            series.name(row),
            (
                Cell(_strip(row, axis, ("declared", "verified", "attacked"))),
                *(_gain(row, name) for name, *_ in _LAYERS),
                figure(row.tightness),
                figure(row.slack),
                *([figure(row.promised)] if promised else []),
                _radius(row.spectral_radius),
            ),
            (series.number(row.variant),),
        )
        for row in rows
    ]
    return table("Gains of the SSM layers", columns, lines, of=task)


def _as_claimed(row: Row) -> Row:
    """With the zero-state figures of the network in place of the incremental ones where its
    declared gain is a zero-state one."""
    if not row.network_claim:
        return row
    attacked = number(row.network_attacked)
    why = f"zero-state gain; differences: attacked {attacked}, no bound, because "
    return replace(
        row,
        network_bound=row.network_zero_state_bound,
        network_attacked=row.network_zero_state,
        network_reason=why + row.network_reason,
    )


def _network(task: str, rows: Sequence[Row], series: Series) -> Markup:
    rows = [_as_claimed(row) for row in rows]
    names = [name for name, *_ in _NETWORK]
    axis = _axis(rows, names)
    columns = [
        Column("Variant"),
        Column(element("span", "Gain of the network", axis.header), "strip", sortable=False),
        *(Column(title, "number", help=text) for _, title, text in _NETWORK),
        Column("Why there is no bound", "words"),
    ]
    lines = [
        Line(
            series.name(row),
            (
                Cell(_strip(row, axis, ("network_declared", "network_bound", "network_attacked"))),
                *(_gain(row, name) for name in names),
                Cell(row.network_reason),
            ),
            (series.number(row.variant),),
        )
        for row in rows
    ]
    return table("Incremental gain of the whole network", columns, lines, of=task)


def _axis(rows: Sequence[Row], names: Sequence[str]) -> Axis:
    """For the gains of the rows in which all are finite, and for infinity where it is needed: an
    attack on what is unstable finds any number."""
    found = [[v for name in names if (v := getattr(row, name)) is not None] for row in rows]
    finite = [values for values in found if all(map(math.isfinite, values))]
    infinite = [] if len(finite) == len(found) else [math.inf]
    return Axis.of([v for row in finite or found for v in row] + infinite, logarithmic=True)


def _strip(row: Row, axis: Axis, names: tuple[str, str, str]) -> Markup:
    declared, verified, attacked = (getattr(row, name) for name in names)
    proved = "verified" not in row.unproved or names[1] != "verified"
    found = [
        Mark(value, symbol, f"mark-{kind}", f"{word} {number(getattr(row, name))}")
        for value, symbol, kind, word, name in (
            (declared, "bound", "declared", "declared", names[0]),
            (attacked, "circle", "attacked", "attacked", names[2]),
            (verified, "proved" if proved else "unproved", "verified", "verified", names[1]),
        )
        if value is not None
    ]
    ends = [mark.value for mark in found]
    span = (min(ends), max(ends)) if len(ends) > 1 else None
    return axis.strip(found, span)


def _gain(row: Row, name: str) -> Cell:
    value = getattr(row, name)
    unproved = element("small", " unproved") if name in row.unproved else None
    shown = element("span", number(value), unproved)
    return figure(value, shown)


def _radius(radius: float | None) -> Cell:
    if radius is None or math.isinf(radius):
        return figure(radius)
    return Cell(f"{radius:.6f}", radius, ordered=True, kind="infinite" if radius >= 1 else "")
