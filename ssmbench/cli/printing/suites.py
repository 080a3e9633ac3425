"""Printing of a suite: its grid before it runs, and its report."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ssmbench.cli.printing import print_json, table
from ssmbench.cli.streams import say

if TYPE_CHECKING:
    from ssmbench.library.suites import PlannedSuite, Report


def print_grid(planned: PlannedSuite, as_json: bool) -> None:
    """Print every run of a suite with its fingerprint and state."""
    runs = planned.runs()
    states = [run.state for run in runs]
    if as_json:
        cells = [
            {
                "label": run.identity.label,
                "fingerprint": run.identity.fingerprint,
                "state": state,
                "config": run.config,
            }
            for run, state in zip(runs, states, strict=True)
        ]
        refused = [dataclasses.asdict(refusal) for refusal in planned.suite.refused]
        print_json({"name": planned.suite.name, "runs": cells, "refused": refused})
        return
    rows = [
        (run.identity.label, run.identity.fingerprint, state)
        for run, state in zip(runs, states, strict=True)
    ]
    table(("run", "fingerprint", "state"), rows)
    say(f"{len(rows)} runs, {sum(run.is_complete for run in runs)} complete")
    if planned.suite.refused:
        say(f"{len(planned.suite.refused)} combinations refused; the report says why")


def print_report(report: Report, as_json: bool) -> None:
    """Print the rows of a suite's report, the notes on them, and the paths of the files."""
    if as_json:
        print_json(report.to_dict())
        return
    _print_tables(report)
    say(f"report:      {report.files['markdown']}")
    say(f"tensorboard: tensorboard --logdir {report.tensorboard}")


def _print_tables(report: Report) -> None:
    from ssmbench.report.tables import COLUMNS, note_text

    rows = report.rows
    for task in dict.fromkeys(row.task for row in rows):
        cells = [tuple(c(row) for c in COLUMNS.values()) for row in rows if row.task == task]
        table(tuple(COLUMNS), cells, title=task)
        say()
    for row in filter(lambda row: row.note, rows):
        say(f"note: {row.task}, {row.variant}, {row.discretizer}: {note_text(row)}")
    for row in rows:
        for violation in row.violations:
            say(f"violated bound: {row.task}, {row.variant}, {row.discretizer}: {violation}")
