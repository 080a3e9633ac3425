"""Search the settings of every cell of a suite: rounds of trials through the suite's launcher."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ssmbench import jsonio
from ssmbench.build.check import check_data
from ssmbench.config import typed
from ssmbench.errors import InterruptedRunError
from ssmbench.launchers.base import Launcher
from ssmbench.launchers.interruption import interruptible
from ssmbench.runs.folder import write_atomically
from ssmbench.runs.run import Run
from ssmbench.runs.states import COMPLETE
from ssmbench.suite.board import link_tensorboard
from ssmbench.suite.record import RUNS, write_suite
from ssmbench.suite.search.cells import SearchedCell
from ssmbench.suite.search.outcome import CellOutcome
from ssmbench.suite.search.plan import SearchPlan, check_search
from ssmbench.suite.search.study import Journal, Proposal, Study, require_optuna
from ssmbench.suite.search.trial import Trial, label_of_trial, ranked

#: Name of the search's folder, inside the suite's folder.
FOLDER = "search"
_POLL_SECONDS = 1.0

_RECORD = "search.json"

#: Runs to execute; afterwards those that no other process was left with have ended.
Execute = Callable[[Sequence[Run]], None]


def run_search(
    plan: SearchPlan, root: Path, launcher: Launcher, jobs: int | None = None
) -> list[CellOutcome]:
    """Search the settings of every cell in the suite's folder ``root``; what has a result is not
    executed again.

    Raises:
        UsageError: Optuna is missing, or a run could not be executed; raised before the first one
            starts.
    """
    require_optuna(f"{plan.path}: search")
    check_search(plan)
    _check_data(plan.cells)
    journal = Journal(root / FOLDER)
    parallel = plan.parallel(launcher.side_by_side(jobs))
    searches = [CellSearch(cell, journal, root, parallel) for cell in plan.cells]
    executor = Executor(launcher, jobs, Reporter(plan.search.objective))
    run_rounds(searches, executor, lambda: _write_records(root, plan, searches))
    return [search.outcome() for search in searches]


def _check_data(cells: Sequence[SearchedCell]) -> None:
    """Load the data of each task once."""
    for cell in {cell.cell.task: cell for cell in cells}.values():
        check_data(typed(cell.first_config()))


def _write_records(root: Path, plan: SearchPlan, searches: Sequence[CellSearch]) -> None:
    """``search.json`` for readers of the search, and ``suite.json`` with the trials as its runs, so
    that ``suite status``, ``logs`` and ``cancel`` find them by their labels."""
    folder, outcomes = root / FOLDER, [search.outcome() for search in searches]
    record = {"cells": [outcome.to_dict() for outcome in outcomes]}
    write_atomically(folder / _RECORD, jsonio.dumps(record, indent=1))
    runs = [run for outcome in outcomes for run in outcome.recorded()]
    name, objective = f"{plan.suite.name}, search", plan.search.objective
    settings = [tried for outcome in outcomes for tried in outcome.settings()]
    write_suite(folder, name, runs, runs, (), settings, objective=objective)
    with suppress(FileExistsError, FileNotFoundError):  # another process does the same
        if not (folder / RUNS).exists():
            (folder / RUNS).symlink_to(Path("..") / RUNS)
        link_tensorboard(folder)


class CellSearch:
    """The search of one cell, as a sequence of rounds."""

    def __init__(self, cell: SearchedCell, journal: Journal, root: Path, parallel: int):
        self._cell, self._root = cell, root
        self._maximize = cell.task.higher_is_better
        parallel = cell.search.parallel or parallel
        self._study = Study(journal, cell.study, cell.search, self._maximize, parallel)
        self._rungs: list[list[Trial]] = [[] for _ in cell.search.budgets]
        self._known: dict[tuple[int, int], Trial] = {}

    def rounds(self) -> Iterator[list[Trial]]:
        """The trials of each round, to be executed before the next is asked for. It ends early if
        they then have not all ended."""
        while waiting := {proposal.number for proposal in self._study.next_round()}:
            yield from self._tried(self._study.proposals, 0)
            if not self._has_ended(0):
                return
            self._study.tell({t.number: t.value for t in self._rungs[0] if t.number in waiting})
        yield from self._tried(self._study.proposals, 0)  # also those that failed before
        if self._has_ended(0):
            yield from self._upper_rungs()

    def _upper_rungs(self) -> Iterator[list[Trial]]:
        halving = self._cell.search.halving
        for rung in range(1, len(self._rungs)):
            assert halving is not None, "only halving has several rungs"
            best = ranked(self._rungs[rung - 1])[: halving.survivors(len(self._rungs[rung - 1]))]
            going_on = [Proposal(trial.number, trial.settings) for trial in best]
            yield from self._tried(sorted(going_on, key=lambda one: one.number), rung)
            if not self._has_ended(rung):
                return

    def _tried(self, proposals: Sequence[Proposal], rung: int) -> Iterator[list[Trial]]:
        """The trials of these proposals, unless all have values; then what came of them. (Another
        process may propose more meanwhile.)"""
        self._rungs[rung] = self._trials(proposals, rung)
        if any(trial.value is None for trial in self._rungs[rung]):
            yield self._rungs[rung]
            self._rungs[rung] = self._trials(proposals, rung)

    def _has_ended(self, rung: int) -> bool:
        return all(trial.has_ended for trial in self._rungs[rung])

    def outcome(self) -> CellOutcome:
        """What came of the rounds so far."""
        return CellOutcome(self._cell, tuple(tuple(rung) for rung in self._rungs))

    def _trials(self, proposals: Sequence[Proposal], rung: int) -> list[Trial]:
        return [self._trial(proposal, rung) for proposal in proposals]

    def _trial(self, proposal: Proposal, rung: int) -> Trial:
        """With what came of its run up to now."""
        key, search = (proposal.number, rung), self._cell.search
        known = self._known.get(key)
        if known is None:
            budget = search.budgets[rung]
            label = label_of_trial(self._cell.label, proposal.number, search, budget)
            run = self._cell.run(proposal.settings, budget, self._root, label)
            known = Trial(
                proposal.number,
                proposal.settings,
                budget,
                run,
                search.objective,
                self._maximize,
            )
        elif known.value is None:
            known = replace(known)  # without what was read before
        self._known[key] = known
        return known


def run_rounds(
    searches: Sequence[CellSearch], execute: Execute, record: Callable[[], None]
) -> None:
    """Execute the rounds of all cells side by side, until each has ended or cannot go on; before
    each, and at the end, what came of those before is recorded."""
    going_on = {search: search.rounds() for search in searches}
    while going_on:
        rounds = {search: next(iterator, None) for search, iterator in going_on.items()}
        record()
        wanted = [trial.run for trials in rounds.values() for trial in trials or ()]
        if wanted:
            execute(wanted)
        going_on = {s: going_on[s] for s, trials in rounds.items() if trials is not None}


class Executor:
    """Executes the runs of a round that have no result, each at most once in this process."""

    def __init__(self, launcher: Launcher, jobs: int | None, report: Callable[[Run, str], None]):
        self._launcher, self._jobs, self._report = launcher, jobs, report
        self._executed: set[str] = set()

    def __call__(self, runs: Sequence[Run]) -> None:
        """Runs that another process is executing are waited for; if it gives one up, it is executed
        here."""
        todo = self._missing(runs)
        while todo:
            todo = self._given_up(self._launch(todo))

    def _launch(self, runs: Sequence[Run]) -> list[Run]:
        """Execute runs; returns those that another process is executing.

        Raises:
            InterruptedRunError: a signal ended the search; the runs under way can be resumed.
        """
        held = []
        with interruptible(self._launcher) as caught:
            for run, state in self._launcher.launch(runs, self._jobs):
                if state == "running":
                    held.append(run)
                else:
                    self._executed.add(run.fingerprint)
                    self._report(run, state)
        if caught:
            raise InterruptedRunError("interrupted: the same command goes on", caught[0])
        return held

    def _missing(self, runs: Sequence[Run]) -> list[Run]:
        different = {run.fingerprint: run for run in runs}
        todo = [run for key, run in different.items() if key not in self._executed]
        todo = [run for run in todo if run.folder.state not in COMPLETE]
        for run in todo:
            run.create()
        return todo

    def _given_up(self, held: Sequence[Run]) -> list[Run]:
        """Wait until no run is held; those without a result."""
        if held:
            runs = "1 run" if len(held) == 1 else f"{len(held)} runs"
            print(f"waiting for {runs} of another process", file=sys.stderr, flush=True)
        while any(run.folder.state == "running" for run in held):
            time.sleep(_POLL_SECONDS)
        return [run for run in held if run.folder.state not in COMPLETE]


class Reporter:
    """Report the outcome of each run on stderr: the score that the search looks at, no other."""

    def __init__(self, objective: str):
        self._objective, self._start = objective, time.monotonic()

    def __call__(self, run: Run, state: str) -> None:
        elapsed = time.monotonic() - self._start
        print(f"{elapsed:6.0f} s  {run.label}: {self._outcome(run, state)}", file=sys.stderr)
        sys.stderr.flush()

    def _outcome(self, run: Run, state: str) -> str:
        result = run.folder.result if state in COMPLETE else None
        if result is None:
            return ": ".join(filter(None, (state, run.folder.reason)))
        if result.scores is None:
            return f"diverged at step {result.diverged_at}"
        score = getattr(result.scores, self._objective)
        return f"validation {result.task.metric} {score:.4f} {result.task.unit}".rstrip()
