"""``ssmbench run``: execute one run, from its config to its result."""

from __future__ import annotations

from typing import Annotated

import typer

from ssmbench.cli.printing.runs import print_config, print_run
from ssmbench.cli.verb import AsJson, Force, Output, Overrides
from ssmbench.errors import InterruptedRunError


def run(
    config: Annotated[
        str,
        typer.Argument(
            help="A run config: a YAML file, the name of a bundled one, or SUITE:TASK/VARIANT."
        ),
    ],
    overrides: Overrides = None,
    output: Output = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check and print the resolved config.")
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Train one model, measure its gains and write the run's folder."""
    from ssmbench.library import runs

    planned = runs.prepare(config, overrides, output=output)
    if dry_run:
        print_config(planned, as_json)
        return
    try:
        runs.execute(planned, force=force)
    except InterruptedRunError as error:
        if runs.is_main_process():
            raise
        raise typer.Exit(error.exit_code) from None  # rank 0 says it for all
    except runs.IncompleteRunError:
        if planned.state == "running" and not as_json:
            raise  # one line: who executes it
        print_run(planned, as_json)
        raise typer.Exit(1) from None
    if runs.is_main_process():
        print_run(planned, as_json)
