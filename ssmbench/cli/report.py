"""``ssmbench report``: write the tables, the plots and the page of suites that were run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssmbench.cli.printing.suites import print_report
from ssmbench.cli.verb import PATH_ARGUMENT, PATH_OPTION, AsJson


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...", help="Folders of suites, or published ones.", **PATH_ARGUMENT
        ),
    ],
    against: Annotated[
        Path | None,
        typer.Option(help="Compare with the same cells of this suite.", **PATH_OPTION),
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Join the folders in one report.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The report's folder.", **PATH_OPTION),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the tables and plots of suites again, and print the tables.

    Several folders have a report each, or with --merge one together.
    """
    from ssmbench.errors import require
    from ssmbench.library.reports import write_report

    several = len(folders) > 1 and not merge
    require(not (several and output), "--output: of several reports there is no one folder")
    require(not (several and as_json), "--json: several folders need --merge")
    require(not merge or len(folders) > 1, "--merge: needs two folders or more")
    for group in [[folder] for folder in folders] if several else [folders]:
        print_report(write_report(*group, against=against, output=output), as_json)
