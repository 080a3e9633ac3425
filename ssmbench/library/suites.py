"""Run suites, which are grids of runs, and report on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssmbench.bundled import config_file
from ssmbench.errors import require
from ssmbench.library.configs import Overrides, read_overrides
from ssmbench.library.progress import DEFAULT_ROOT
from ssmbench.library.runs import shown
from ssmbench.paths import absolute
from ssmbench.suite.grid import Suite, load_suite
from ssmbench.suite.plan import check_jobs, check_redo

if TYPE_CHECKING:
    from ssmbench.report.contents import Contents
    from ssmbench.report.statistics import RobustnessRow, Row


@dataclass(frozen=True, repr=False)
class Report:
    """A report, as written to the folder of its suite or elsewhere.

    ``folder``: the suite's, the first one's where several are joined. ``contents``: everything that
    the report shows. ``files``: the files written, by kind ("markdown", "csv", "json", "latex",
    "runs_csv", ... and plots). ``failed``: the number of runs of this session that did not
    complete, not counting those that another process is executing.
    """

    folder: Path
    contents: Contents
    files: Mapping[str, Path]
    failed: int = 0

    @property
    def rows(self) -> tuple[Row, ...]:
        """One row per task, variant and discretizer, over all seeds; the best of a task first."""
        return tuple(self.contents.rows)

    @property
    def robustness(self) -> tuple[RobustnessRow, ...]:
        """One row per task, variant, discretizer and disturbance."""
        return tuple(point for task in self.contents.tasks for point in task.robustness)

    @property
    def tensorboard(self) -> Path:
        """The folder for ``tensorboard --logdir``, with every run under a readable name."""
        return self.folder / "tensorboard"

    def to_dict(self) -> dict[str, Any]:
        """Rows, robustness, files and the folder for TensorBoard as plain values; all that the
        report shows is in its file "json"."""
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


def write_report(
    *folders: str | Path, against: str | Path | None = None, output: str | Path | None = None
) -> Report:
    """Write tables, figures and one page on the runs of a suite, and return the report.

    Several folders are joined: equal cells of two suites are both kept, and tasks on other data,
    or variants with other settings, stay apart under names of their own.

    >>> import ssmbench as sb
    >>> sb.write_report("outputs/quickstart").files["csv"].name  # doctest: +SKIP
    'report.csv'

    Args:
        folders: of suites that were run, or published ones.
        against: the folder of another suite, with which the same cells are compared.
        output: the report's folder; None for ``report`` in the suite's folder (``report_against``
            and the other's name, if there is one), in ``outputs/merged`` of several suites, and in
            ``outputs/NAME`` of a published folder, to which no file may be added.

    Raises:
        UsageError: no suite was run in a folder, or one is given twice.
        WriteError: a file cannot be written.
    """
    from ssmbench.report import write
    from ssmbench.report.against import against as compared
    from ssmbench.report.suites import distinct_names, joined, read_source

    require(bool(folders), "folders: none is given")
    sources = [read_source(absolute(folder)) for folder in folders]
    source = joined(sources) if len(sources) > 1 else sources[0]
    other = None if against is None else read_source(absolute(against, "against"))
    changes, name = None, "report"
    if other is not None:
        names = distinct_names([source.folder, other.folder])
        changes = compared(source.records, other.records, (names[0], names[1]))
        name = f"report_against_{other.folder.name}"
    default = _report_home([each.folder for each in sources])
    out = default / name if output is None else absolute(output, "output")
    found, files = write.write_source(source, out, changes)
    return Report(source.folder, found, files)


def _report_home(folders: Sequence[Path]) -> Path:
    """Where reports on these folders are by default."""
    from ssmbench.publication.layout import is_published

    if len(folders) > 1:
        return absolute(DEFAULT_ROOT) / "merged"
    return absolute(DEFAULT_ROOT) / folders[0].name if is_published(folders[0]) else folders[0]
