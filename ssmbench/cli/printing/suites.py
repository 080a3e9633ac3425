"""Printing of a suite: its plan before it runs, and its report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ssmbench.cli.printing import print_json, table
from ssmbench.cli.streams import say
from ssmbench.runs.states import COMPLETE

if TYPE_CHECKING:
    from ssmbench.library.reports import Report
    from ssmbench.report.against import Against
    from ssmbench.suite.plan import Plan, PlannedRun


def print_plan(plan: Plan, as_json: bool) -> None:
    """Print every run of a suite with fingerprint and state, and the estimated time by variant."""
    from ssmbench.suite.estimates import in_words

    if as_json:
        print_json(_plan_json(plan))
        return
    rows = [(r.progress.label, r.fingerprint, r.progress.state, _time(r)) for r in plan.runs]
    table(("run", "fingerprint", "state", "time"), rows)
    say()
    table(("task", "variant", "runs", "done", "to run", "time"), _by_variant(plan))
    say()
    counts = ", ".join(f"{number} {state}" for state, number in plan.counts.items())
    complete = sum(run.progress.state in COMPLETE for run in plan.runs)
    say(f"{len(plan.runs)} runs, {complete} complete ({counts}); {len(plan.due)} to run")
    if plan.due and plan.seconds is None:
        say("time unknown: no run like some of these is complete; --probe measures it")
    elif plan.due:
        wall = in_words(plan.wall_seconds)
        parallel = min(plan.parallel, len(plan.due))
        say(f"about {in_words(plan.seconds)} of runs, {wall} with {parallel} at once")
    if plan.refused:
        say(f"{len(plan.refused)} combinations refused; the report says why")


def _time(run: PlannedRun) -> str:
    from ssmbench.suite.estimates import in_words

    return in_words(run.seconds) if run.due else ""


def _by_variant(plan: Plan) -> list[tuple[str, str, int, int, int, str]]:
    from ssmbench.suite.estimates import in_words
    from ssmbench.suite.plan import total_seconds

    groups: dict[tuple[str, str], list[PlannedRun]] = {}
    for run in plan.runs:
        groups.setdefault((run.progress.task, run.progress.variant), []).append(run)
    rows = []
    for (task, variant), runs in groups.items():
        done = sum(run.progress.state in COMPLETE for run in runs)
        due = [run for run in runs if run.due]
        time = in_words(total_seconds(due)) if due else ""
        rows.append((task, variant, len(runs), done, len(due), time))
    return rows


def _plan_json(plan: Plan) -> dict[str, Any]:
    runs = [
        {
            "label": run.progress.label,
            "fingerprint": run.fingerprint,
            "state": run.progress.state,
            "reason": run.progress.reason,
            "due": run.due,
            "seconds": run.seconds,
            "config": run.config,
        }
        for run in plan.runs
    ]
    return {
        "name": plan.name,
        "folder": str(plan.folder),
        "redo": plan.redo,
        "counts": plan.counts,
        "due": len(plan.due),
        "seconds": plan.seconds,
        "parallel": plan.parallel,
        "wall_seconds": plan.wall_seconds,
        "runs": runs,
        "refused": list(plan.refused),
    }


def print_report(report: Report, as_json: bool) -> None:
    """Print the rows of a suite's report, the notes on them, and the paths of the files."""
    if as_json:
        print_json(report.to_dict())
        return
    for warning in report.contents.warnings:
        say(f"note: {warning}")
    _print_tables(report)
    if report.contents.against is not None:
        _print_against(report.contents.against)
    say(f"report:      {report.files['markdown']}")
    if report.tensorboard.is_dir():
        say(f"tensorboard: tensorboard --logdir {report.tensorboard}")


def _print_tables(report: Report) -> None:
    from ssmbench.report.tables import LEADERBOARD, present
    from ssmbench.report.texts import note_text

    for task in report.contents.tasks:
        for title, columns in LEADERBOARD.items():
            shown = present(columns, task.rows)
            cells = [tuple(cell(row) for cell in shown.values()) for row in task.rows]
            table(tuple(shown), cells, title=f"{task.name}: {title.lower()}")
            say()
    for row in filter(lambda row: row.note, report.rows):
        say(f"note: {row.task}, {row.variant}, {row.discretizer}: {note_text(row)}")
    for row in report.rows:
        for violation in row.violations:
            say(f"violated bound: {row.task}, {row.variant}, {row.discretizer}: {violation}")


def _print_against(found: Against) -> None:
    from ssmbench.report.tables import AGAINST_COLUMNS, against_cells

    for warning in found.warnings:
        say(f"note: {warning}")
    table(AGAINST_COLUMNS, list(map(against_cells, found.rows)), title=f"against {found.other}")
    for name, cells in ((found.name, found.only_here), (found.other, found.only_there)):
        if cells:
            say(f"only in {name}: {len(cells)} runs")
    say()
