"""Search the settings of the cells of a suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssmbench.bundled import config_file
from ssmbench.errors import require
from ssmbench.library.configs import Overrides, read_overrides
from ssmbench.library.progress import DEFAULT_ROOT
from ssmbench.paths import absolute, shown

if TYPE_CHECKING:
    from ssmbench.suite.search.outcome import CellOutcome
    from ssmbench.suite.search.plan import SearchPlan


@dataclass(frozen=True, repr=False)
class SearchReport:
    """What came of a search: of each cell (task, variant and discretizer) its trials and the best.

    ``best``: the suite file of the best settings, None if there are none yet; ``failed``: the
    number of runs without a result, but for those that wait in the queue of a scheduler;
    ``queued``: the number of these; ``found_nothing``: the number of cells whose search is complete
    without any best settings.
    """

    folder: Path
    cells: Sequence[CellOutcome]
    best: Path | None

    @property
    def failed(self) -> int:
        return sum(len(cell.without_result) for cell in self.cells) - self.queued

    @property
    def queued(self) -> int:
        return sum(trial.state == "queued" for cell in self.cells for trial in cell.without_result)

    @property
    def found_nothing(self) -> int:
        return sum(cell.found_nothing for cell in self.cells)

    def to_dict(self) -> dict[str, Any]:
        """Cells and the suite file as plain values, without any score on test data."""
        return {
            "cells": [cell.to_dict() for cell in self.cells],
            "best": None if self.best is None else str(self.best),
        }

    def __repr__(self) -> str:
        best = "no best settings yet" if self.best is None else shown(self.best)
        return f"Search of {len(self.cells)} cells: {best}"


@dataclass(frozen=True)
class PlannedSearch:
    """The search of a suite file, and the suite's folder."""

    plan: SearchPlan
    folder: Path


def plan_search(
    config: str | Path, overrides: Overrides = None, *, output: str | Path | None = None
) -> PlannedSearch:
    """The search of a suite file, read and checked; nothing is written.

    Raises:
        UsageError: the suite, its search or the overrides are invalid.
    """
    from ssmbench.suite.search.plan import load_search

    named = isinstance(config, str | Path)
    require(named, f"suite: must be a path or a bundled suite's name, got {config!r}")
    plan = load_search(config_file(config, "suites"), read_overrides(overrides))
    default = absolute(DEFAULT_ROOT) / plan.suite.name
    return PlannedSearch(plan, default if output is None else absolute(output, "output"))


def check_search(planned: PlannedSearch, launcher: str | Mapping[str, Any] | None = None) -> None:
    """Build the launcher, check every value of the space that is listed and the ends of every
    range, and build a run of each cell, without training.

    Raises:
        UsageError: an unknown launcher, or a value that is not allowed.
    """
    from ssmbench.suite.search import plan
    from ssmbench.suite.session import build_launcher

    build_launcher(planned.plan.suite, launcher)
    plan.check_search(planned.plan)


def search_suite(
    config: str | Path,
    overrides: Overrides = None,
    *,
    output: str | Path | None = None,
    jobs: int | None = None,
    launcher: str | Mapping[str, Any] | None = None,
) -> SearchReport:
    """Search the settings of every cell of a suite, as its section ``search`` says.

    Trials are ordinary runs in the suite's folder; those that have a result are not executed again,
    and a search that was interrupted goes on with the trials that it would have proposed. Trials
    are compared by their scores on the validation data, and no other score of theirs is reported.

    >>> import ssmbench as sb
    >>> report = sb.search_suite("tuning.yaml", launcher="inline")  # doctest: +SKIP
    >>> sb.run_suite(report.best)  # doctest: +SKIP

    Args:
        config: the path of a suite file with a section ``search``.
        overrides: as for :func:`run_suite`; they apply to every trial.
        output: the suite's folder; None for the folder of its name in ``outputs``.
        jobs: the number of runs in parallel; None lets the launcher decide.
        launcher: as for :func:`run_suite`.

    Raises:
        UsageError: the suite or its search is invalid, or Optuna is not installed; raised before
            the first run starts.
    """
    return execute_search(plan_search(config, overrides, output=output), jobs, launcher)


def execute_search(
    planned: PlannedSearch,
    jobs: int | None = None,
    launcher: str | Mapping[str, Any] | None = None,
) -> SearchReport:
    """Execute a search that :func:`plan_search` returned; see :func:`search_suite`."""
    from ssmbench.suite.plan import check_jobs
    from ssmbench.suite.search import session
    from ssmbench.suite.search.best import write_best
    from ssmbench.suite.session import build_launcher

    check_jobs(jobs)
    plan, root = planned.plan, planned.folder
    outcomes = session.run_search(plan, root, build_launcher(plan.suite, launcher), jobs)
    return SearchReport(root, outcomes, write_best(root / session.FOLDER, plan, outcomes))
