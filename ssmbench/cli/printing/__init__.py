"""How the verbs print: JSON, values in cells, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ssmbench.cli import streams
from ssmbench.cli.streams import say


def print_json(value: Any) -> None:
    """Print a value as JSON; what is not finite becomes a string."""
    from ssmbench import jsonio

    say(jsonio.dumps(value, indent=1))


def plain(value: Any) -> str:
    """A value as a cell of a table."""
    if value is None:
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> None:
    """Print a table, as wide as its cells need."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(*header, title=title, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        shown.add_row(*(str(cell).replace("[", r"\[") for cell in row))
    console = Console(file=streams.answer())
    # Wide enough that no cell is cut short: the terminal wraps lines that are too long for it.
    console.width = max(console.width, _natural_width(console, shown))
    console.print(shown)


def _natural_width(console: Any, shown: Any) -> int:
    return console.measure(shown, options=console.options.update(max_width=10_000)).maximum
