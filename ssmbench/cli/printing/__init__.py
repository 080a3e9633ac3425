"""Printing for the verbs: JSON, table cells and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ssmbench.cli import streams
from ssmbench.cli.streams import say


def print_json(value: Any) -> None:
    """Print a value as JSON; infinities and NaN become strings."""
    from ssmbench import jsonio

    say(jsonio.dumps(value, indent=1))


def plain(value: Any) -> str:
    """The text of a value in a table cell."""
    if value is None:
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> None:
    """Print a table that is as wide as its cells require."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(*header, title=title, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        shown.add_row(*(str(cell).replace("[", r"\[") for cell in row))
    console = Console(file=streams.answer())
    # Wide enough that no cell is truncated: the terminal wraps lines that are too long.
    console.width = max(console.width, natural_width(console, shown))
    console.print(shown)


def natural_width(console: Any, shown: Any) -> int:
    """The characters that a table takes if none of its cells is truncated."""
    return console.measure(shown, options=console.options.update(max_width=10_000)).maximum
