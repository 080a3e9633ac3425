"""The page of a comparison: tables, and training curves that can be zoomed."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from ssmbench.figures.chart import Chart
from ssmbench.figures.interactive import page
from ssmbench.report.side_by_side import Contrast, Row, Section

_HEADS = {"difference": "second - first", "ratio": "second / first"}


def comparison_page(labels: Sequence[str], sections: Sequence[Section], chart: Chart | None) -> str:
    """One self-contained HTML file: a table per section with a column per run, and the curves."""
    tables = "\n".join(_table(labels, section) for section in sections)
    return page(chart or Chart(""), title=f"{len(labels)} runs side by side", before=tables)


def cells(row: Row, contrast: Contrast) -> list[str]:
    """The texts of a row: values, the best ones with a star, and of two runs the contrast."""
    texts = [text_of(v) + (" *" if i in row.best else "") for i, v in enumerate(row.values)]
    if contrast and len(row.values) == 2:
        value = row.contrast(contrast)
        texts.append(
            "" if value is None else f"{value:+.4g}" if contrast == "difference" else f"{value:.4g}"
        )
    return texts


def head(labels: Sequence[str], section: Section) -> list[str]:
    """The texts above the columns of :func:`cells`, with the one above the names."""
    last = [_HEADS[section.contrast]] if section.contrast and len(labels) == 2 else []
    return ["", *labels, *last]


def text_of(value: Any) -> str:
    """A value as a reader wants it: numbers to six digits, None as in YAML."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _table(labels: Sequence[str], section: Section) -> str:
    columns = "".join(f"<th scope=col>{html.escape(text)}</th>" for text in head(labels, section))
    rows = "\n".join(_row(row, section) for row in section.rows)
    notes = "".join(f"<p class=note>{html.escape(note)}</p>" for note in section.notes)
    return (
        f"<h2>{html.escape(section.title)}</h2>\n<div class=scroll><table><thead><tr>{columns}</tr>"
        f"</thead>\n<tbody>{rows}</tbody></table></div>\n{notes}"
    )


def _row(row: Row, section: Section) -> str:
    shown = cells(row, section.contrast)
    marked = "".join(
        f"<td{' class=best' if i in row.best else ''}>{html.escape(text)}</td>"
        for i, text in enumerate(shown)
    )
    return f"<tr><th scope=row>{html.escape(row.name)}</th>{marked}</tr>"
