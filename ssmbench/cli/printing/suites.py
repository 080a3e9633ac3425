"""A suite in print: its grid before it runs, and its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ssmbench.cli.printing import print_json, table
from ssmbench.cli.streams import say


def print_grid(grid: Any, root: Path, as_json: bool) -> None:
    """Every run of a suite with its fingerprint and state."""
    import dataclasses

    from ssmbench.runs.folder import DONE

    runs = grid.runs(root)
    states = [run.folder.state for run in runs]
    if as_json:
        cells = [
            {"label": r.label, "fingerprint": r.fingerprint, "state": s, "config": r.config}
            for r, s in zip(runs, states, strict=True)
        ]
        refused = [dataclasses.asdict(refusal) for refusal in grid.refused]
        print_json({"name": grid.name, "runs": cells, "refused": refused})
        return
    rows = [(r.label, r.fingerprint, s) for r, s in zip(runs, states, strict=True)]
    table(("run", "fingerprint", "state"), rows)
    say(f"{len(rows)} runs, {sum(s in DONE for s in states)} complete")
    if grid.refused:
        say(f"{len(grid.refused)} combinations refused; the report says why")


def print_report(folder: Path, as_json: bool) -> None:
    """Write the report of a suite's folder and print its table."""
    from dataclasses import asdict

    from ssmbench.report import tables
    from ssmbench.report.collect import collect
    from ssmbench.report.statistics import robustness_rows
    from ssmbench.report.statistics import rows as rows_of
    from ssmbench.report.write import write_report

    files = write_report(folder)
    records = collect(folder)
    rows = rows_of(records)
    board = folder / "tensorboard"
    if as_json:
        paths: Mapping[str, str] = {kind: str(path) for kind, path in files.items()}
        listed = {"rows": [asdict(row) for row in rows]}
        listed["robustness"] = [asdict(point) for point in robustness_rows(records)]
        print_json(listed | {"files": paths, "tensorboard": str(board)})
        return
    _print_tables(rows, tables.COLUMNS, tables.note_text)
    say(f"report:      {files['markdown']}")
    say(f"tensorboard: tensorboard --logdir {board}")


def _print_tables(
    rows: list[Any], columns: Mapping[str, Callable[[Any], str]], note: Callable[[Any], str]
) -> None:
    for task in dict.fromkeys(row.task for row in rows):
        cells = [tuple(c(row) for c in columns.values()) for row in rows if row.task == task]
        table(tuple(columns), cells, title=task)
        say()
    for row in filter(lambda row: row.note, rows):
        say(f"note: {row.task}, {row.variant}, {row.discretizer}: {note(row)}")
    for row in rows:
        for violation in row.violations:
            say(f"violated bound: {row.task}, {row.variant}, {row.discretizer}: {violation}")
