"""What the verbs share: options that they all have, and how they print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import click
import typer
from typer.core import TyperCommand

from ssmbench.paths import absolute
from ssmbench.verbs import streams
from ssmbench.verbs.streams import say

#: Of every argument and option that is a path: expanded and absolute before a verb sees it.
PATH_ARGUMENT: dict[str, Any] = {"parser": absolute}
PATH_OPTION: dict[str, Any] = {"parser": absolute, "metavar": "PATH"}

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")]
Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugins", help="A plugin file or a folder of them; may be repeated.", **PATH_OPTION
    ),
]


class Verb(TyperCommand):
    """A command whose answer is all that reaches standard output."""

    def invoke(self, ctx: click.Context) -> Any:
        with streams.answers_apart():
            return super().invoke(ctx)


def print_json(value: Any) -> None:
    from ssmbench import jsonio

    say(jsonio.dumps(value, indent=1))


def plain(value: Any) -> str:
    """A value as a cell of a table."""
    if value is None:
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def table(header: tuple[str, ...], rows: list[tuple[str, ...]], title: str | None = None) -> None:
    """Print a table, as wide as its cells need."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(*header, title=title, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        shown.add_row(*(str(cell).replace("[", r"\[") for cell in row))
    console = Console(file=streams.answer())
    # A cell cut short says nothing: let the terminal wrap lines that are too long for it.
    console.width = max(console.width, _natural_width(console, shown))
    console.print(shown)


def _natural_width(console: Any, shown: Any) -> int:
    return console.measure(shown, options=console.options.update(max_width=10_000)).maximum
