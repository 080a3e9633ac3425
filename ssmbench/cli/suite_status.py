"""``ssmbench suite status``, ``cancel`` and ``logs``: on the runs in a suite's folder."""

from __future__ import annotations

from typing import Annotated

import typer

from ssmbench.cli.printing import print_json, table
from ssmbench.cli.streams import answer, say
from ssmbench.cli.verb import AsJson, Output
from ssmbench.errors import UsageError

Given = Annotated[
    str,
    typer.Argument(
        metavar="FOLDER|FILE",
        help="A suite's folder, or a suite file or bundled name, which means outputs/NAME.",
    ),
]
Label = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A label of the report; the seed may be left out."),
]
Labels = Annotated[
    list[str] | None,
    typer.Argument(metavar="RUN...", help="Labels of the report, or patterns; default: all runs."),
]


def status(
    folder: Given,
    output: Output = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again every two seconds, until all is done.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far a suite is: states, progress, scores, time left, and why runs failed."""
    from ssmbench.cli.printing.surveys import print_survey, survey_json, watch_survey
    from ssmbench.library.progress import suite_status

    if watch and as_json:
        raise UsageError("suite status: --watch and --json exclude each other")
    if watch:
        watch_survey(lambda: suite_status(folder, output))
        return
    survey = suite_status(folder, output)
    if as_json:
        print_json(survey_json(survey))
    else:
        print_survey(survey)


def cancel(
    folder: Given, runs: Labels = None, output: Output = None, as_json: AsJson = False
) -> None:
    """Stop runs that are queued or running; they can be resumed from their last checkpoint."""
    from ssmbench.library.progress import cancel_runs

    outcomes = cancel_runs(folder, runs or (), output)
    if as_json:
        print_json([{"label": label, "outcome": outcome} for label, outcome in outcomes])
    elif outcomes:
        table(("run", "outcome"), outcomes)
    else:
        say("nothing to cancel: no run is queued or running")
    if any(outcome.startswith("not stopped") for _, outcome in outcomes):
        raise typer.Exit(1)


def logs(
    folder: Given,
    run: Label,
    output: Output = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run is no longer executed.")
    ] = False,
) -> None:
    """Print what a run printed, and the traceback if it failed."""
    from ssmbench.library.progress import run_output

    for text in run_output(folder, run, output, follow):
        print(text, end="", file=answer(), flush=True)
