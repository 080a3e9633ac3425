"""``ssmbench compare``: runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssmbench.cli.printing import print_json, table
from ssmbench.cli.streams import say
from ssmbench.cli.verb import PATH_ARGUMENT, PATH_OPTION, AsJson

if TYPE_CHECKING:
    from ssmbench.library.comparing import Comparison


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs.", **PATH_ARGUMENT)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Also training curves over each other (.png, .svg, .pdf) or a page (.html).",
            **PATH_OPTION,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two or more runs: configs, scores, gains, robustness, size and speed.

    Of the configs only the keys that differ are shown. A star marks the best score.
    """
    from ssmbench.library.comparing import compare as side_by_side

    found = side_by_side(*runs, output=output)
    if as_json:
        about = {"output": str(output)} if output else {}
        print_json(found.to_dict() | about)
        return
    _print(found)
    if output is not None:
        say(f"output: {output}")


def _print(found: Comparison) -> None:
    from ssmbench.report.side_by_side_page import cells, head

    for label, folder in found.runs.items():
        say(f"{label}: {folder}")
    for section in found.sections:
        say()
        rows = [(row.name, *cells(row, section.contrast)) for row in section.rows]
        table(head(list(found.runs), section), rows, title=section.title)
        for note in section.notes:
            say(f"({note})")
