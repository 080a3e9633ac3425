"""Reports on suites that were run; loads no torch, which a report does not need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssmbench.errors import require
from ssmbench.library.progress import DEFAULT_ROOT
from ssmbench.paths import absolute, shown

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
