"""Tables that read well without scripts, and that the page's script orders and filters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ssmbench.report.html.markup import Markup, Part, element
from ssmbench.report.html.numbers import number

_FILTERED_FROM = 8  # rows: in fewer nobody searches


@dataclass(frozen=True)
class Cell:
    """What is shown, and what a column is ordered by: ``value`` where ``ordered``, else the text.

    A ``value`` of None is a figure that does not exist, which comes last in either order.
    ``kind``: classes of the style sheet.
    """

    shown: Part
    value: float | None = None
    ordered: bool = False
    kind: str = ""


@dataclass(frozen=True)
class Column:
    """``kind``: "number", "words", "strip" (marks on an axis) or "". ``descending``: the order that
    the first click gives. ``help``: a sentence that the pointer shows."""

    title: Part
    kind: str = ""
    descending: bool = False
    sortable: bool = True
    help: str = ""


@dataclass(frozen=True)
class Line:
    """A row: the cell that names it, then the others. ``variants``: the numbers of those
    that it is about, for the choice of variants."""

    name: Cell
    cells: tuple[Cell, ...]
    variants: tuple[int, ...] = ()
    kind: str = ""


def figure(value: float | None, shown: Part = None, *, alarm: bool = True) -> Cell:
    """A number; infinite ones stand out unless they are no ``alarm``, missing ones are pale."""
    kind = ""
    if value is None:
        kind = "missing"
    elif math.isinf(value) and alarm:
        kind = "infinite"
    return Cell(number(value) if shown is None else shown, value, ordered=True, kind=kind)


def table(
    title: str,
    columns: Sequence[Column],
    lines: Iterable[Line],
    apart: Iterable[Line] = (),
    *,
    of: str = "",
) -> Markup:
    """A table in a box of its own; the lines ``apart`` stay below the others in every order.

    ``of``: the task under whose heading it stands, which its caption also names.
    """
    caption = f"{of}: {title}" if of else title
    bodies = [list(lines), list(apart)]
    inner = element(
        "table",
        element("caption", caption, class_="hidden-text"),
        element("thead", element("tr", *map(_header, columns))),
        *(element("tbody", *(_row(line, columns) for line in body)) for body in bodies if body),
    )
    box = element("div", inner, class_="scroll", tabindex=0, role="region", aria_label=caption)
    shown = element("p", title, class_="title", aria_hidden="true")  # stays when the table scrolls
    head = element("div", shown, _filter(caption, len(bodies[0])), class_="head")
    return element("div", head, box, class_="table")


def _filter(caption: str, lines: int) -> Part:
    if lines < _FILTERED_FROM:
        return None
    field = element("input", type="search", autocomplete="off", spellcheck="false")
    words = element("span", "Filter", element("span", f" {caption}", class_="hidden-text"))
    count = element("output", aria_live="polite")
    return element("div", count, element("label", words, field), class_="filter control")


def _header(column: Column) -> Markup:
    return element(
        "th",
        column.title,
        scope="col",
        class_=column.kind or None,
        title=column.help or None,
        data_first="descending" if column.descending else None,
        data_sort=None if column.sortable else "no",
    )


def _row(line: Line, columns: Sequence[Column]) -> Markup:
    name = element("th", line.name.shown, scope="row", **_order(line.name))
    cells = (
        element(
            "td", cell.shown, class_=f"{column.kind} {cell.kind}".strip() or None, **_order(cell)
        )
        for column, cell in zip(columns[1:], line.cells, strict=True)
    )
    return element(
        "tr",
        name,
        *cells,
        data_v=" ".join(map(str, line.variants)) or None,
        class_=line.kind or None,
    )


def _order(cell: Cell) -> dict[str, Any]:
    if not cell.ordered:
        return {}
    if cell.value is None:
        return {"data_value": ""}
    return {
        "data_value": {math.inf: "Infinity", -math.inf: "-Infinity"}.get(cell.value, cell.value)
    }
