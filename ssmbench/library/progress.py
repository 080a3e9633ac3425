"""How far suites are, what their runs printed, and cancelling them. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ssmbench.bundled import bundled_configs, config_file
from ssmbench.errors import SsmbenchError, UsageError, suggest
from ssmbench.paths import absolute

if TYPE_CHECKING:
    from ssmbench.runs.folder import RunFolder
    from ssmbench.suite.record import Recorded
    from ssmbench.suite.survey import Survey

#: The default parent of suite folders; each suite has a folder of its name.
DEFAULT_ROOT = "outputs"
#: What a run printed, and the traceback of one that failed.
_LOGS = ("output.log", "error.txt")


def suite_folder(given: str | Path, output: str | Path | None = None) -> Path:
    """The folder of a suite: ``given``, if that is a folder; otherwise ``output``, or the folder in
    ``outputs`` of a suite file, of a bundled suite, or of that name.

    Raises:
        UsageError: it is none of them.
    """
    path = absolute(given)
    if path.is_dir():
        return path
    if output is not None:
        return absolute(output, "output")
    named = absolute(DEFAULT_ROOT) / str(given)
    known = bundled_configs("suites")
    if not path.exists() and str(given).removesuffix(".yaml") not in known:
        if named.is_dir():
            return named
        places = [*known, *(place.name for place in absolute(DEFAULT_ROOT).glob("*"))]
        raise UsageError(f"{given}: no such folder or suite file; {suggest(str(given), places)}")
    from ssmbench.suite.composition import read_composed, suite_name

    file = config_file(given, "suites")
    return absolute(DEFAULT_ROOT) / suite_name(read_composed(file), file)


def suite_status(given: str | Path, output: str | Path | None = None) -> Survey:
    """The state, progress and score of every run of a suite, as its folder has them now.

    >>> import ssmbench as sb
    >>> sb.suite_status("quickstart").counts  # doctest: +SKIP
    {'finished': 30, 'running': 4, 'missing': 2}

    Args:
        given: the suite's folder, its file, or the name of a bundled suite.
        output: the suite's folder, where it is not the one of its name in ``outputs``.

    Raises:
        UsageError: there is no such suite, or it was not run.
    """
    from ssmbench.suite.survey import survey

    return survey(suite_folder(given, output))


def cancel_runs(
    given: str | Path, labels: Sequence[str] = (), output: str | Path | None = None
) -> list[tuple[str, str]]:
    """Stop runs of a suite that are queued or running, all of them without ``labels``; returns
    label and outcome of each.

    Args:
        given: as :func:`suite_status` has it.
        labels: as in the report; the seed, and the discretizer before it, may be left out, and
            patterns match several.
        output: as :func:`suite_status` has it.

    Raises:
        UsageError: there is no such suite, or no run of a label.
    """
    from ssmbench.launchers.jobs import UNDER_WAY, cancel_all
    from ssmbench.suite.record import recorded_runs, runs_called

    root = suite_folder(given, output)
    runs = recorded_runs(root)
    if labels:
        runs = [run for label in labels for run in runs_called(runs, label, str(root))]
    folders = {run.fingerprint: (run.label, run.folder(root)) for run in runs}
    asked = [one for one in folders.values() if labels or one[1].state in UNDER_WAY]
    done = cancel_all([folder for _, folder in asked])
    return [(label, answer) for (label, _), answer in zip(asked, done, strict=True)]


def run_of_label(
    given: str | Path, label: str, output: str | Path | None = None
) -> tuple[Recorded, RunFolder]:
    """A run of a suite by its label, and its folder; arguments as of :func:`cancel_runs`.

    Raises:
        UsageError: there is no such suite, or not one run of that label.
    """
    from ssmbench.suite.record import recorded_runs, run_called

    root = suite_folder(given, output)
    run = run_called(recorded_runs(root), label, str(root))
    return run, run.folder(root)


def run_output(
    given: str | Path, label: str, output: str | Path | None = None, follow: bool = False
) -> Iterator[str]:
    """What a run of a suite printed, and its traceback if it failed, piece by piece.

    With ``follow``, until nothing executes it any more. Arguments as of :func:`run_of_label`.

    Raises:
        UsageError: as :func:`run_of_label`.
        SsmbenchError: the run has printed nothing.
    """
    from ssmbench.suite.output import followed, written

    run, folder = run_of_label(given, label, output)
    files = [folder.path / name for name in _LOGS]
    if not follow and not any(file.is_file() for file in files):
        state = folder.state
        reason = f" ({folder.reason})" if folder.reason else ""
        raise SsmbenchError(f"{run.label}: has no output; it is {state}{reason}")
    if follow:
        yield from followed(folder, files[0])
        files = files[1:]
    for file in files:
        yield from written(file)
