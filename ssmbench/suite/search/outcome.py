"""What came of a search, cell by cell, as plain values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ssmbench.suite.record import Recorded
from ssmbench.suite.search.cells import SearchedCell
from ssmbench.suite.search.trial import Trial, ranked


@dataclass(frozen=True)
class CellOutcome:
    """The trials of one cell by rung, the smallest budget first. Without halving there is one."""

    cell: SearchedCell
    rungs: tuple[tuple[Trial, ...], ...]

    @cached_property
    def best(self) -> Trial | None:
        """The best trial of the last rung; None if there is none yet."""
        best = ranked(self.rungs[-1]) if self.is_complete else []
        return best[0] if best else None

    @property
    def is_complete(self) -> bool:
        """Whether every trial was proposed, and the runs of every rung have ended."""
        every = len(self.rungs[0]) == self.cell.search.trials
        return every and all(trial.has_ended for trial in self._all) and self._is_decided

    @property
    def found_nothing(self) -> bool:
        """Whether it is complete, and no trial of the last rung has a score."""
        return self.is_complete and self.best is None

    @property
    def _is_decided(self) -> bool:
        """Whether each rung has the trials that went on from the one before, if any could."""
        pairs = zip(self.rungs, self.rungs[1:], strict=False)
        return all(above or not ranked(below) for below, above in pairs)

    @cached_property
    def without_result(self) -> tuple[Trial, ...]:
        """The trials whose runs failed, or have not ended."""
        return tuple(trial for trial in self._all if trial.value is None)

    @cached_property
    def diverged(self) -> int:
        """How many runs diverged."""
        return sum(trial.value is not None and not trial.is_usable for trial in self._all)

    @cached_property
    def spent(self) -> float:
        """The sum of the budgets of the runs with a result, in units of the halving's key; without
        halving their number."""
        return sum(1 if trial.budget is None else trial.budget for trial in self._with_result)

    @cached_property
    def seconds(self) -> float:
        """The time of the runs with a result."""
        results = (trial.result for trial in self._with_result)
        return sum((result.seconds or 0.0) for result in results if result is not None)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, without any score on test data."""
        cell, task = self.cell.cell, self.cell.task
        return {
            "task": cell.task,
            "variant": cell.variant,
            "discretizer": cell.discretizer,
            "metric": task.score,
            "unit": task.unit,
            "higher_is_better": task.higher_is_better,
            "objective": self.cell.search.objective,
            "trials": len(self.rungs[0]),
            "diverged": self.diverged,
            "without_result": len(self.without_result),
            "spent": self.spent,
            "seconds": round(self.seconds, 2),
            "complete": self.is_complete,
            "best": _plain(self.best) if self.best else None,
            "rungs": [[_plain(trial) for trial in rung] for rung in self.rungs],
        }

    def recorded(self) -> list[Recorded]:
        """The trials' runs as a suite's record has them."""
        cell = self.cell.cell
        place = (cell.task, cell.variant, cell.discretizer, cell.seed)
        return [Recorded(*place, trial.run.label, trial.run.fingerprint) for trial in self._all]

    def settings(self) -> list[dict[str, Any]]:
        """The settings that each of the trials' runs tries, by dotted key."""
        return [dict(trial.settings) for trial in self._all]

    @property
    def _all(self) -> Iterable[Trial]:
        return (trial for rung in self.rungs for trial in rung)

    @property
    def _with_result(self) -> list[Trial]:
        """One trial of each run."""
        different = {trial.run.fingerprint: trial for trial in self._all}
        return [trial for trial in different.values() if trial.value is not None]


def _plain(trial: Trial) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "budget": trial.budget,
        "value": trial.value,
        "state": trial.state,
        "reason": trial.reason,
        "fingerprint": trial.run.fingerprint,
        "settings": dict(trial.settings),
    }
