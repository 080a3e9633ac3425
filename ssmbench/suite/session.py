"""Run a suite: validate it, execute its missing runs, report progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ssmbench import registry
from ssmbench.build.check import check_data
from ssmbench.config import (
    all_earlier_sources,
    build,
    fingerprint,
    typed,
)
from ssmbench.errors import InterruptedRunError, UsageError
from ssmbench.launchers.base import Launcher
from ssmbench.launchers.interruption import interruptible
from ssmbench.results import Result
from ssmbench.runs.run import Run
from ssmbench.runs.states import COMPLETE
from ssmbench.suite.board import link_tensorboard
from ssmbench.suite.grid import RUNS, Cell, Suite
from ssmbench.suite.launcher import read_launcher
from ssmbench.suite.plan import FROM_THE_START, is_due
from ssmbench.suite.record import write_suite
from ssmbench.training.board.settings import of_a_suite
from ssmbench.training.check import check


def run_suite(
    suite: Suite,
    root: Path,
    launcher: str | Mapping[str, Any] | None = None,
    jobs: int | None = None,
    redo: str = "missing",
) -> int:
    """Execute the chosen runs of a suite in ``root`` that are due; returns how many did not
    complete, without those that a launcher has left in the queue of a scheduler.

    ``launcher``, a name or a mapping with options, replaces the suite's launcher; ``jobs`` is the
    number of runs in parallel, None lets the launcher decide. ``redo``: one of
    :data:`ssmbench.suite.plan.REDO`.

    Raises:
        UsageError: a run could not be executed; raised before the first one starts.
        InterruptedRunError: a signal ended the suite; the message says how far it has come.
    """
    selected = build_launcher(suite, launcher)
    check_all(suite)
    runs = suite.runs(root)
    todo = due_runs(distinct([cell.run(root / RUNS) for cell in suite.chosen_cells]), redo)
    _check_data(todo)
    if redo in FROM_THE_START:
        _reset(todo)
    settings = of_a_suite([cell.config for cell in suite.cells])
    write_suite(root, suite.name, suite.cells, runs, suite.refused, settings)
    link_tensorboard(root)
    for run in todo:
        if run.folder.checked_state == "damaged":
            print(f"{run.label}: {run.folder.checked_reason}: running it again", file=sys.stderr)
    _report_edited_plugins(root, todo)
    nothing = "every run is complete" if redo == "missing" else f"no run is {redo}"
    reporter = _Reporter(len(todo), root, nothing)
    with reporter, interruptible(selected) as caught:
        for run, state in selected.launch(todo, jobs):
            reporter(run, state)
    link_tensorboard(root)
    if caught:
        raise _interrupted(runs, caught[0], selected.outlives_suite)
    return reporter.close()


def _interrupted(runs: Sequence[Run], signum: int, outlived: bool) -> InterruptedRunError:
    """The error that says how far an interrupted suite has come.

    ``runs``: all runs of the suite; ``outlived``: jobs of a scheduler go on without it.
    """
    folders = {run.fingerprint: run.folder for run in runs}
    complete = sum(folder.is_complete for folder in folders.values())
    rest = "the same command goes on"
    if outlived:
        rest = (
            "the jobs go on: the same command collects their results, 'ssmbench suite cancel' "
            "stops them"
        )
    line = f"interrupted: {complete} of {len(folders)} runs are complete; {rest}"
    return InterruptedRunError(line, signum)


def build_launcher(suite: Suite, chosen: str | Mapping[str, Any] | None = None) -> Launcher:
    """The suite's launcher, or the ``chosen`` one, see :func:`read_launcher`.

    Raises:
        UsageError: an unknown launcher, option or file.
    """
    component = suite.launcher if chosen is None else chosen
    return build(registry.launchers, read_launcher(component, "launcher"))


def _report_edited_plugins(root: Path, runs: Sequence[Run]) -> None:
    """Print how many runs have earlier results that plugins edited since have made obsolete."""
    new = [run for run in runs if run.folder.state == "missing"]
    earlier = all_earlier_sources(root / RUNS, [run.config for run in new])
    edited = sum(map(bool, earlier))
    if edited:
        print(
            f"{edited} of {len(runs)} runs have earlier results with different plugin code; "
            "they are trained again",
            file=sys.stderr,
        )


def distinct(runs: Iterable[Run]) -> list[Run]:
    """Create the folders of the runs and return each run once: equal configs share a folder."""
    wanted: dict[str, Run] = {}
    for run in runs:
        run.create()
        wanted.setdefault(run.fingerprint, run)
    return list(wanted.values())


def missing(runs: Iterable[Run]) -> list[Run]:
    """The runs that are not complete, without duplicates."""
    return due_runs(distinct(runs), "missing")


def due_runs(runs: Iterable[Run], redo: str) -> list[Run]:
    """The runs that are executed; ``redo``: one of :data:`ssmbench.suite.plan.REDO`."""
    return [run for run in runs if is_due(run.folder.checked_state, redo)]


def _check_data(runs: Iterable[Run]) -> None:
    """Load the data once for every combination of task and batch size."""
    different = {(str(run.config["task"]), run.config["batch_size"]): run for run in runs}
    for run in different.values():
        check_data(run.typed)


def _reset(runs: Iterable[Run]) -> None:
    for run in runs:
        if not run.reset():
            print(f"{run.label}: skipped: another process is executing it", file=sys.stderr)


def check_all(suite: Suite) -> None:
    """Build the components of every run, without training.

    Raises:
        UsageError: a run could not be executed; the message names it.
    """
    different: dict[str, Cell] = {}
    for cell in suite.chosen_cells:  # the components do not depend on the seed
        different.setdefault(fingerprint(cell.config | {"seed": 0}), cell)
    accepted: set[str] = set()
    for cell in different.values():
        try:
            check(typed(cell.config), accepted)
        except UsageError as error:
            raise UsageError(f"{cell.label}: {error}") from None


class _Reporter:
    """Report the outcome of each run on stderr, on a terminal with a progress bar."""

    def __init__(self, total: int, root: Path, nothing: str):
        self._failed = 0
        self._held: list[Run] = []  # by other processes
        self._queued = 0
        self._total, self._root, self._nothing = total, root, nothing
        self._done, self._start = 0, time.monotonic()
        columns = (TextColumn("runs"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        console = Console(stderr=True)
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._bar = self._progress.add_task("runs", total=total)

    def __enter__(self) -> None:
        self._progress.start()
        if self._total == 0:
            print(f"nothing to run: {self._nothing}", file=sys.stderr)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def close(self) -> int:
        """Say what others are still executing; returns how many runs did not complete."""
        held = [run for run in self._held if not run.folder.is_complete]
        if held:
            names = ", ".join(f"{run.label} ({run.folder.reason})" for run in held)
            print(f"{len(held)} runs are executed by other processes: {names}", file=sys.stderr)
        if self._queued:
            print(f"{self._queued} runs are queued: the same command collects", file=sys.stderr)
        return self._failed + len(held)

    def __call__(self, run: Run, state: str) -> None:
        link_tensorboard(self._root, run.fingerprint)
        self._done += 1
        if state == "running":
            self._held.append(run)
        self._queued += state == "queued"
        self._failed += state not in (*COMPLETE, "running", "queued")
        elapsed = time.monotonic() - self._start
        count = f"[{self._done}/{self._total}] {elapsed:5.0f} s"
        line = f"{count}  {run.label}: {_outcome(run, state)}"
        if self._progress.disable:
            print(line, file=sys.stderr, flush=True)
        else:
            self._progress.console.print(line, markup=False, highlight=False)
            self._progress.update(self._bar, completed=self._done)


def _outcome(run: Run, state: str) -> str:
    folder = run.folder
    if state == "running":
        return "another process is executing it"
    if state == "diverged":
        return f"diverged at step {folder.read_result().diverged_at}"
    if state not in COMPLETE and folder.reason:
        return f"{state}: {folder.reason}"
    if state == "finished":
        return _score_line(folder.read_result())
    return state


def _score_line(result: Result) -> str:
    assert result.scores is not None, "a finished run has scores"
    return f"{result.task.metric} {result.scores.test:.4f} {result.task.unit}".rstrip()
