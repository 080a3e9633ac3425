"""``ssmbench suite``: execute a grid of runs and report on them."""

from __future__ import annotations

from typing import Annotated

import typer

from ssmbench.cli.printing.suites import print_grid, print_report
from ssmbench.cli.verb import AsJson, Force, Output, Overrides


def suite(
    config: Annotated[
        str, typer.Argument(help="A suite config: a YAML file, or the name of a bundled one.")
    ],
    overrides: Overrides = None,
    output: Output = None,
    jobs: Annotated[
        int | None, typer.Option(help="Runs in parallel; default: the launcher decides.")
    ] = None,
    launcher: Annotated[
        str | None, typer.Option(help="As in `ssmbench list launchers`; default: the suite's.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check and print the grid.")] = (
        False
    ),
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Execute the missing runs of a grid of variants, tasks and seeds, and report on all runs."""
    from ssmbench.library import suites

    planned = suites.plan_suite(config, overrides, output=output)
    if dry_run:
        suites.check_suite(planned, launcher)
        print_grid(planned, as_json)
        return
    report = suites.execute_suite(planned, jobs, launcher, force)
    print_report(report, as_json)
    if report.failed:
        raise typer.Exit(1)
