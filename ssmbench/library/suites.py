"""Run suites, which are grids of runs, and report on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssmbench.bundled import config_file
from ssmbench.errors import require
from ssmbench.library.configs import Overrides, read_overrides
from ssmbench.library.progress import DEFAULT_ROOT
from ssmbench.library.reports import Report, write_report
from ssmbench.paths import absolute
from ssmbench.suite.plan import check_jobs, check_redo

if TYPE_CHECKING:
    from ssmbench.suite.grid import Suite


@dataclass(frozen=True)
class PlannedSuite:
    """A resolved suite and its folder."""

    suite: Suite
    folder: Path


def plan_suite(
    config: str | Path,
    overrides: Overrides = None,
    *,
    output: str | Path | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> PlannedSuite:
    """The grid of a suite with every run resolved; nothing is written.

    Raises:
        UsageError: the suite or its overrides are invalid.
    """
    from ssmbench.suite.grid import load_suite  # slow: torch, which a report does not need

    named = isinstance(config, str | Path)
    require(named, f"suite: must be a path or a bundled suite's name, got {config!r}")
    over = read_overrides(overrides)
    suite = load_suite(config_file(config, "suites"), over, include, exclude)
    root = absolute(DEFAULT_ROOT) / suite.name if output is None else absolute(output, "output")
    return PlannedSuite(suite, root)


def run_suite(
    config: str | Path,
    overrides: Overrides = None,
    *,
    output: str | Path | None = None,
    jobs: int | None = None,
    launcher: str | Mapping[str, Any] | None = None,
    redo: str = "missing",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    force: bool = False,
) -> Report:
    """Execute the missing runs of a grid of variants, tasks and seeds, and report on all runs.

    A failed run does not stop the others; the report's attribute ``failed`` counts failed runs.

    >>> import ssmbench as sb
    >>> report = sb.run_suite("quickstart", {"trainer.max_epochs": 1})  # doctest: +SKIP
    >>> [row.variant for row in report.rows if row.violations]  # doctest: +SKIP
    []

    Args:
        config: the path of a YAML file or a bundled suite's name.
        overrides: values by dotted keys or as a nested mapping, or a list of "key=value"; they
            apply to every run.
        output: the suite's folder; None for the folder of its name in ``outputs``.
        jobs: the number of runs in parallel; None lets the launcher decide.
        launcher: a registered name, or a mapping of ``name`` and options; None for the suite's.
            Entries registered in a notebook cell require "inline".
        redo: which runs are executed: "missing" ones, those that "failed" or were "interrupted",
            or "all"; failed ones and all start again from the beginning.
        include: selectors of the runs that are executed now, as in a suite file; the report has all
            runs of the suite.
        exclude: selectors of those that are not.
        force: the same as ``redo="all"``.

    Raises:
        UsageError: the suite is invalid; raised before the first run starts.
    """
    planned = plan_suite(config, overrides, output=output, include=include, exclude=exclude)
    return execute_suite(planned, jobs, launcher, "all" if force else redo)


def execute_suite(
    planned: PlannedSuite,
    jobs: int | None = None,
    launcher: str | Mapping[str, Any] | None = None,
    redo: str = "missing",
) -> Report:
    """Execute a suite that :func:`plan_suite` returned; see :func:`run_suite`."""
    from ssmbench.suite import session

    check_jobs(jobs)
    check_redo(redo)
    failed = session.run_suite(planned.suite, planned.folder, launcher, jobs, redo)
    return replace(write_report(planned.folder), failed=failed)
