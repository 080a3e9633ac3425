"""``ssmbench report``: write the tables and plots of a suite that was run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssmbench.cli.printing.suites import print_report
from ssmbench.cli.verb import PATH_ARGUMENT, AsJson


def report(
    folder: Annotated[Path, typer.Argument(help="A suite's folder.", **PATH_ARGUMENT)],
    as_json: AsJson = False,
) -> None:
    """Write the tables and plots of a suite again, and print the tables."""
    from ssmbench.library.suites import write_report

    print_report(write_report(folder), as_json)
