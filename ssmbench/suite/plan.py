"""What a call of a suite will do: which runs it executes, and how long that takes. Loads no torch.

The words for what to do again are in :data:`REDO`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ssmbench.errors import UsageError, require, suggest
from ssmbench.runs.states import COMPLETE
from ssmbench.suite.record import Recorded
from ssmbench.suite.survey import Progress, progress_of

#: What ``redo`` may be: which runs are executed, and from where.
REDO: Final[Mapping[str, str]] = {
    "missing": "every run without a usable result, from its last checkpoint if it has one",
    "failed": "the runs that failed, from the start",
    "interrupted": "the runs that were interrupted or out of time, from their last checkpoint",
    "all": "every run, from the start",
}
#: Those of :data:`REDO` that delete what runs have written.
FROM_THE_START: Final = ("failed", "all")


def check_redo(redo: str) -> None:
    """Raise a UsageError unless ``redo`` is one of :data:`REDO`."""
    if redo not in REDO:
        raise UsageError(f"redo: {redo!r} is not a choice; {suggest(str(redo), REDO)}")


def check_jobs(jobs: Any) -> None:
    """Raise a UsageError unless ``jobs`` is a positive whole number or None."""
    whole = jobs is None or (type(jobs) is int and jobs >= 1)
    require(whole, f"jobs: must be at least 1, got {jobs!r}")


def is_due(state: str, redo: str) -> bool:
    """Whether a run in this state is executed."""
    if redo == "missing":
        return state not in COMPLETE
    if redo == "interrupted":
        return state in ("interrupted", "out_of_time")
    return redo == "all" or state == redo


@dataclass(frozen=True)
class PlannedRun:
    """A run of a suite: how far it is, and whether it is due. ``seconds``: estimated time that it
    will take; 0 if it is not due, None if nothing is known. ``config``: the resolved one."""

    progress: Progress
    fingerprint: str
    due: bool
    seconds: float | None
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """What a call of a suite will do. ``refused``: combinations that ``discretizers: all`` left
    out; ``parallel``: runs at once."""

    name: str
    folder: Path
    redo: str
    runs: tuple[PlannedRun, ...]
    refused: tuple[Mapping[str, str], ...] = ()
    parallel: int = 1

    @property
    def counts(self) -> dict[str, int]:
        """The number of runs in each state that occurs."""
        states = [run.progress.state for run in self.runs]
        return {state: states.count(state) for state in dict.fromkeys(states)}

    @property
    def due(self) -> list[PlannedRun]:
        """The runs that are executed."""
        return [run for run in self.runs if run.due]

    @property
    def seconds(self) -> float | None:
        """Estimated seconds of all runs that are due, one after another; None if unknown."""
        return total_seconds(self.runs)

    @property
    def wall_seconds(self) -> float | None:
        """Estimated seconds until they are done, ``parallel`` at a time."""
        if self.seconds is None or not self.due:
            return self.seconds
        longest = max(run.seconds or 0.0 for run in self.due)
        return max(longest, self.seconds / min(self.parallel, len(self.due)))


def total_seconds(runs: Sequence[PlannedRun]) -> float | None:
    """The sum of the runs' estimated seconds; None if one is unknown."""
    known = [run.seconds for run in runs if run.seconds is not None]
    return sum(known) if len(known) == len(runs) else None


def planned_runs(
    root: Path, runs: Sequence[Recorded], configs: Sequence[Mapping[str, Any]], redo: str
) -> Iterator[PlannedRun]:
    """The runs as they are planned, with their resolved configs; runs that share a folder are due
    once."""
    seen: set[str] = set()
    for run, config, progress in zip(runs, configs, progress_of(root, runs), strict=True):
        due = is_due(progress.state, redo) and run.fingerprint not in seen
        seen.add(run.fingerprint)
        whole = redo in FROM_THE_START
        seconds = (progress.typical if whole else progress.left) if due else 0.0
        yield PlannedRun(progress, run.fingerprint, due, seconds, config)
