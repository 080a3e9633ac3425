"""``ssmbench import``: other people's trained weights as a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssmbench.cli.printing.runs import print_run
from ssmbench.cli.verb import PATH_ARGUMENT, PATH_OPTION, AsJson, Overrides
from ssmbench.errors import require


def import_(
    checkpoint: Annotated[
        Path, typer.Argument(help="A NumPy .npz file, or a torch file.", **PATH_ARGUMENT)
    ],
    layout: Annotated[
        str, typer.Option("--from", help="The layout, as in `ssmbench list importers`.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The run's folder, new or empty.", **PATH_OPTION)
    ],
    overrides: Overrides = None,
    options: Annotated[
        list[str] | None,
        typer.Option(help="An option of the layout, key=value; may be repeated."),
    ] = None,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial", help="Leave out unknown keys; do without an encoder or a decoder."
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace what is in the run's folder.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a run of weights that were trained elsewhere, and measure its gains.

    key=value sets values of the run's config: with task=NAME the network is scored on it; without,
    no data are needed. `ssmbench show importer NAME` shows a layout's keys and options.
    """
    from ssmbench.config import parse_overrides
    from ssmbench.library.imports import import_run

    chosen = parse_overrides(options or [])
    require("name" not in chosen, "--options: the layout is named by --from")
    run = import_run(
        checkpoint,
        layout,
        overrides,
        output=output,
        partial=partial,
        force=force,
        **chosen,
    )
    print_run(run, as_json)
