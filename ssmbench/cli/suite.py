"""``ssmbench suite``: a grid of runs, and the report on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssmbench.cli.printing.suites import print_grid, print_report
from ssmbench.cli.verb import PATH_ARGUMENT, AsJson, Output, Overrides
from ssmbench.paths import absolute


def suite(
    config: Annotated[Path, typer.Argument(help="A suite config (YAML).", **PATH_ARGUMENT)],
    overrides: Overrides = None,
    output: Output = None,
    jobs: Annotated[
        int | None, typer.Option(help="Runs side by side; default: one a core.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the grid and stop.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a grid of variants, tasks and seeds, as far as it is missing, and report on it."""
    from ssmbench.errors import require
    from ssmbench.suite.grid import load_suite

    require(jobs is None or jobs >= 1, f"--jobs must be at least 1, got {jobs}")
    grid = load_suite(config, overrides or [])
    root = output or absolute("outputs") / grid.name
    if dry_run:
        from ssmbench.suite.session import check_all

        check_all(grid)
        print_grid(grid, root, as_json)
        return
    from ssmbench.suite.session import run_suite

    failed = run_suite(grid, root, jobs=jobs)
    print_report(root, as_json)
    if failed:
        raise typer.Exit(1)
