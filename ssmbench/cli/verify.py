"""``ssmbench verify``: check the gains of a folder that somebody published."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssmbench.cli.printing.publications import print_verification
from ssmbench.cli.verb import PATH_ARGUMENT, AsJson


def verify(
    folder: Annotated[
        Path, typer.Argument(help="A folder that ssmbench publish wrote.", **PATH_ARGUMENT)
    ],
    data: Annotated[
        bool, typer.Option("--data", help="Also compute test scores again, where the data are.")
    ] = False,
    run_plugins: Annotated[
        bool,
        typer.Option("--run-plugins", help="Execute the submitted plugins; read them first."),
    ] = False,
    time_limit: Annotated[float, typer.Option(help="Seconds for each run.")] = 120.0,
    jobs: Annotated[
        int | None, typer.Option(help="Runs that are checked at once; default: all CPUs.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compute poles, declared and verified gains of published weights again, and compare.

    Exit code 0 only if every run is accepted, 1 if one is not, 2 if this is no published folder.
    Nothing in the folder is executed unless --run-plugins is given.
    """
    from ssmbench.library import publications

    found = publications.verify(
        folder, with_data=data, run_plugins=run_plugins, time_limit=time_limit, jobs=jobs
    )
    print_verification(found, as_json)
    if not found.accepted:
        raise typer.Exit(1)
