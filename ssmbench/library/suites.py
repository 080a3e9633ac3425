"""Suites: grids of runs, and the reports on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssmbench.bundled import config_file
from ssmbench.errors import require
from ssmbench.library.configs import Overrides, read_overrides
from ssmbench.library.runs import Run, shown
from ssmbench.paths import absolute
from ssmbench.suite.grid import Suite, load_suite

if TYPE_CHECKING:
    from ssmbench.report.statistics import RobustnessRow, Row

#: Where suites are written, each in a folder of its name, unless another place is named.
DEFAULT_ROOT = "outputs"


@dataclass(frozen=True, repr=False)
class Report:
    """The report on a suite, as it was written into the suite's folder.

    ``rows``: one for each variant and discretizer of each task, over its seeds; ``robustness``:
    one for each of them at each disturbance; ``files``: what was written, by kind ("markdown",
    "csv", "json" and plots); ``failed``: how many runs of this session did not complete, those
    that another process has left out.
    """

    folder: Path
    rows: tuple[Row, ...]
    robustness: tuple[RobustnessRow, ...]
    files: Mapping[str, Path]
    failed: int = 0

    @property
    def tensorboard(self) -> Path:
        """For ``tensorboard --logdir``: every run under a readable name."""
        return self.folder / "tensorboard"

    def to_dict(self) -> dict[str, Any]:
        """Plain values: rows, robustness, files and the folder for TensorBoard."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "robustness": [asdict(point) for point in self.robustness],
            "files": {kind: str(path) for kind, path in self.files.items()},
            "tensorboard": str(self.tensorboard),
        }

    def __repr__(self) -> str:
        failed = f", {self.failed} failed runs" if self.failed else ""
        return f"Report of {len(self.rows)} rows{failed}: {shown(self.files['markdown'])}"


@dataclass(frozen=True)
class PlannedSuite:
    """A resolved suite and the folder that it is run in."""

    suite: Suite
    folder: Path

    def runs(self) -> list[Run]:
        """The run of each cell, in the suite's order; cells that are alike share one."""
        return [Run(identity) for identity in self.suite.runs(self.folder)]


def plan_suite(
    config: str | Path, overrides: Overrides = None, *, output: str | Path | None = None
) -> PlannedSuite:
    """The grid of a suite, every run of it resolved; nothing is written.

    Raises:
        UsageError: anything wrong in the suite or its overrides.
    """
    named = isinstance(config, str | Path)
    require(named, f"suite: must be a path or a bundled suite's name, got {config!r}")
    suite = load_suite(config_file(config, "suites"), read_overrides(overrides))
    root = absolute(DEFAULT_ROOT) / suite.name if output is None else absolute(output, "output")
    return PlannedSuite(suite, root)


def check_suite(planned: PlannedSuite) -> None:
    """Build what every run of a suite needs, without training.

    Raises:
        UsageError: a run could not be; says which.
    """
    from ssmbench.suite.session import check_all

    check_all(planned.suite)


def run_suite(
    config: str | Path,
    overrides: Overrides = None,
    *,
    output: str | Path | None = None,
    jobs: int | None = None,
    launcher: str | Mapping[str, Any] | None = None,
    force: bool = False,
) -> Report:
    """Run a grid of variants, tasks and seeds, as far as it is missing, and report on it.

    A run that fails does not stop the others; ``failed`` of the report counts those.

    >>> import ssmbench as sb
    >>> report = sb.run_suite("quickstart", {"trainer.max_epochs": 1})  # doctest: +SKIP
    >>> [row.variant for row in report.rows if row.violations]  # doctest: +SKIP
    []

    Args:
        config: the path of a YAML file or a bundled suite's name.
        overrides: act on every run: values by dotted keys or as a nested mapping, or a list of
            "key=value".
        output: the suite's folder; ``outputs`` and its name where None.
        jobs: runs side by side; the launcher decides where None.
        launcher: a registered name, or a mapping of ``name`` and options: "inline" for what a
            notebook's cell has registered; the suite's own where None.
        force: run again what is complete.

    Raises:
        UsageError: anything wrong in the suite; found before the first run starts.
    """
    return execute_suite(plan_suite(config, overrides, output=output), jobs, launcher, force)


def execute_suite(
    planned: PlannedSuite,
    jobs: int | None = None,
    launcher: str | Mapping[str, Any] | None = None,
    force: bool = False,
) -> Report:
    """Run what :func:`plan_suite` gave; see :func:`run_suite`."""
    from ssmbench.suite import session

    whole = jobs is None or (type(jobs) is int and jobs >= 1)
    require(whole, f"jobs: must be at least 1, got {jobs!r}")
    failed = session.run_suite(planned.suite, planned.folder, launcher, jobs, force)
    return replace(write_report(planned.folder), failed=failed)


def write_report(folder: str | Path) -> Report:
    """Write the tables and plots of a suite that was run, and give its rows.

    >>> import ssmbench as sb
    >>> sb.write_report("outputs/quickstart").files["csv"].name  # doctest: +SKIP
    'report.csv'

    Raises:
        UsageError: no suite was run there.
    """
    from ssmbench.report import write
    from ssmbench.report.collect import collect
    from ssmbench.report.statistics import robustness_rows, rows

    root = absolute(folder)
    files = write.write_report(root)
    records = collect(root)
    return Report(root, tuple(rows(records)), tuple(robustness_rows(records)), files)
