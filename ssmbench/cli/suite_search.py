"""``ssmbench suite search``: the settings of each cell of a suite."""

from __future__ import annotations

from typing import Annotated

import typer

from ssmbench.cli.printing.searches import print_plan, print_search
from ssmbench.cli.verb import AsJson, Output, Overrides


def search(
    config: Annotated[
        str, typer.Argument(help="A suite config with a section `search`, or a bundled one's name.")
    ],
    overrides: Overrides = None,
    output: Output = None,
    jobs: Annotated[
        int | None, typer.Option(help="Runs in parallel; default: the launcher decides.")
    ] = None,
    launcher: Annotated[
        str | None,
        typer.Option(help="A launcher's name, or a YAML file; default: the suite's."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check and print the plan.")] = (
        False
    ),
    as_json: AsJson = False,
) -> None:
    """Search the settings of each variant on each task, by their scores on the validation data."""
    from ssmbench.library import searches

    planned = searches.plan_search(config, overrides, output=output)
    if dry_run:
        searches.check_search(planned, launcher)
        print_plan(planned, as_json)
        return
    report = searches.execute_search(planned, jobs, launcher)
    print_search(report, as_json)
    if report.failed or report.found_nothing:
        raise typer.Exit(1)
