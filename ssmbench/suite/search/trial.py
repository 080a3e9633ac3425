"""A trial of a search in one rung, and what came of its run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ssmbench.results import Result
from ssmbench.runs.run import Run
from ssmbench.runs.states import COMPLETE
from ssmbench.suite.search.settings import Search

#: States of a run that will come to no result by itself: its trial has no value.
_WITHOUT_RESULT = ("failed", "out_of_time", "damaged", "unreadable")


@dataclass(frozen=True)
class Trial:
    """Settings by dotted key, trained with ``budget`` in a run; ``number``: in the cell's study.

    What came of the run is read once, when it is asked for first.
    """

    number: int
    settings: Mapping[str, Any]
    budget: float | None
    run: Run
    objective: str
    maximize: bool

    @cached_property
    def state(self) -> str:
        """The state of the run."""
        return self.run.folder.state

    @cached_property
    def reason(self) -> str:
        """Why the run has no result."""
        return "" if self.state in COMPLETE else self.run.folder.reason

    @property
    def has_ended(self) -> bool:
        """Whether the run has a result, or has come to none."""
        return self.state in (*COMPLETE, *_WITHOUT_RESULT)

    @cached_property
    def result(self) -> Result | None:
        """The result of the run; None if it has none."""
        return self.run.folder.result if self.state in COMPLETE else None

    @property
    def worst(self) -> float:
        """The value of a run that diverged: infinite, on the bad side."""
        return -math.inf if self.maximize else math.inf

    @property
    def value(self) -> float | None:
        """The score on the validation data; the worst one if the run diverged, None if it has no
        result."""
        if self.result is None:
            return None
        if self.result.scores is None:
            return self.worst
        score = getattr(self.result.scores, self.objective)
        return None if score is None else (self.worst if math.isnan(score) else score)

    @property
    def is_usable(self) -> bool:
        """Whether the run has finished with a score."""
        return self.value is not None and math.isfinite(self.value)


def ranked(trials: Iterable[Trial]) -> list[Trial]:
    """The usable trials, the best first and of equal ones the earlier; one of each run."""
    usable = {trial.run.fingerprint: trial for trial in reversed(list(trials)) if trial.is_usable}
    sign = -1 if any(trial.maximize for trial in usable.values()) else 1
    return sorted(usable.values(), key=lambda trial: (sign * (trial.value or 0.0), trial.number))


def label_of_trial(cell: str, number: int, search: Search, budget: float | None) -> str:
    """For example ``digits/S4D-zoh-trial3-max_epochs6``."""
    label = f"{cell}-trial{number}"
    if search.halving is None:
        return label
    return f"{label}-{search.halving.budget.rpartition('.')[2]}{budget:g}"
