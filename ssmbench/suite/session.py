"""One sitting with a suite: check it, run what is missing, say how it goes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ssmbench.build.check import check_data
from ssmbench.config import fingerprint, typed
from ssmbench.errors import UsageError
from ssmbench.launchers.local import default_jobs, launch
from ssmbench.runs.folder import DONE, RunFolder
from ssmbench.suite.grid import Cell, Suite
from ssmbench.suite.record import RUNS, link_tensorboard, write_suite
from ssmbench.training.check import check


def run_suite(suite: Suite, fingerprints: list[str], root: Path, jobs: int | None) -> int:
    """Run the missing cells of a suite into ``root``; the number of runs that did not complete.

    Raises:
        UsageError: a cell could not run; found before the first one starts.
    """
    check_all(suite)
    todo = missing(suite.cells, root / RUNS)
    data = {(str(cell.config["task"]), cell.config["batch_size"]): cell.config for cell in todo}
    for config in data.values():
        check_data(typed(config))
    write_suite(root, suite, fingerprints)
    reporter = _Reporter(len(todo), root)
    with reporter:
        launch(todo, root / RUNS, jobs or default_jobs(), reporter)
    link_tensorboard(root)
    return reporter.failed


def missing(cells: Iterable[Cell], root: Path) -> list[Cell]:
    """The cells whose runs are not complete, each run once."""
    wanted: dict[str, Cell] = {}
    for cell in cells:
        folder = RunFolder.create(root, cell.config)
        if not folder.is_done:
            wanted.setdefault(folder.path.name, cell)
    return list(wanted.values())


def check_all(suite: Suite) -> None:
    """Build what every cell needs, without training.

    Raises:
        UsageError: a cell could not run; says which.
    """
    distinct: dict[str, Cell] = {}
    for cell in suite.cells:  # what is built hangs on all of a config but its seed
        distinct.setdefault(fingerprint(cell.config | {"seed": 0}), cell)
    for cell in distinct.values():
        try:
            check(typed(cell.config))
        except UsageError as error:
            raise UsageError(f"{cell.label}: {error}") from None


class _Reporter:
    """Says what became of each run: a bar on a terminal, plain lines elsewhere; on stderr."""

    def __init__(self, total: int, root: Path):
        self.failed = 0
        self._total, self._root = total, root
        self._done, self._start = 0, time.monotonic()
        columns = (TextColumn("runs"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        console = Console(stderr=True)
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._bar = self._progress.add_task("runs", total=total)

    def __enter__(self) -> None:
        self._progress.start()
        if self._total == 0:
            print("nothing to run: every run is complete", file=sys.stderr)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, cell: Cell, state: str) -> None:
        link_tensorboard(self._root)
        self._done += 1
        self.failed += state not in (*DONE, "running")  # running: another launcher's
        elapsed = time.monotonic() - self._start
        count = f"[{self._done}/{self._total}] {elapsed:5.0f} s"
        line = f"{count}  {cell.label}: {self._outcome(cell, state)}"
        if self._progress.disable:
            print(line, file=sys.stderr, flush=True)
        else:
            self._progress.console.print(line, markup=False, highlight=False)
            self._progress.update(self._bar, completed=self._done)

    def _outcome(self, cell: Cell, state: str) -> str:
        folder = RunFolder.create(self._root / RUNS, cell.config)
        if state == "diverged":
            return f"diverged at step {folder.result['diverged_at']}"
        if state not in DONE and folder.reason:
            return f"{state}: {folder.reason}"
        if state == "finished":
            task, scores = folder.result["task"], folder.result["scores"]
            return f"{task['score']} {scores['test']:.4f} {task['unit']}".rstrip()
        return state
