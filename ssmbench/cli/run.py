"""``ssmbench run``: one run from its config to its result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssmbench.cli.printing.runs import print_config, print_run
from ssmbench.cli.verb import PATH_ARGUMENT, AsJson, Output, Overrides
from ssmbench.paths import absolute


def run(
    config: Annotated[Path, typer.Argument(help="A run config (YAML).", **PATH_ARGUMENT)],
    overrides: Overrides = None,
    output: Output = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and print the resolved config, and stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train one model, measure its gains and write its folder."""
    from ssmbench.config import load_run

    resolved = load_run(config, overrides or [])
    from ssmbench.runs.execute import execute
    from ssmbench.runs.folder import DONE
    from ssmbench.runs.run import Run
    from ssmbench.training.check import check
    from ssmbench.training.environment import is_main_process

    root = output or absolute("outputs/runs")
    planned = Run.of(resolved, root)
    folder = planned.folder
    check(planned.typed)
    if dry_run:
        print_config(folder, resolved, as_json)
        return
    state = execute(planned, config.stem)
    if not is_main_process():
        return
    print_run(folder, state, as_json)
    if state not in DONE:
        raise typer.Exit(1)
