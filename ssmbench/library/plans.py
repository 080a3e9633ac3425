"""What a call of a suite will do. Loads no torch for a suite that was planned before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssmbench.bundled import config_file
from ssmbench.errors import require
from ssmbench.library.progress import DEFAULT_ROOT
from ssmbench.paths import absolute

if TYPE_CHECKING:
    from ssmbench.library.configs import Overrides
    from ssmbench.suite.plan import Plan


def plan_runs(
    config: str | Path,
    overrides: Overrides = None,
    *,
    output: str | Path | None = None,
    jobs: int | None = None,
    launcher: str | Mapping[str, Any] | None = None,
    redo: str = "missing",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    probe: bool = False,
) -> Plan:
    """What :func:`ssmbench.run_suite` will do with these arguments: the runs, their states, those
    that are due, and the estimated time. Every run is checked, and none is executed.

    The time is known of kinds of runs that are complete in the suite's folder, or were probed.
    ``probe``: each other kind that is due is trained for a few batches and measured, now.

    >>> import ssmbench as sb
    >>> sb.plan_runs("quickstart").counts  # doctest: +SKIP
    {'missing': 36}

    Raises:
        UsageError: the suite is invalid, or one of its runs could not be executed.
    """
    from ssmbench.suite.plan import Plan, check_jobs, check_redo, planned_runs
    from ssmbench.suite.record import Recorded

    check_redo(redo)
    check_jobs(jobs)
    checked = _checked(config, overrides, include, exclude, launcher, jobs)
    folder = absolute(DEFAULT_ROOT) / checked["name"]
    root = folder if output is None else absolute(output, "output")
    runs = [Recorded(**run) for run in checked["runs"]]
    planned = tuple(planned_runs(root, runs, checked["configs"], redo))
    unknown = {run.progress.kind: run.config for run in planned if run.seconds is None}
    if probe and unknown:
        from ssmbench.suite.probe import probe as measure

        measure(root, unknown)
        planned = tuple(planned_runs(root, runs, checked["configs"], redo))
    refused = tuple(checked["refused"])
    return Plan(checked["name"], root, redo, planned, refused, checked["parallel"])


def _checked(config: str | Path, overrides: Overrides, *options: Any) -> Mapping[str, Any]:
    """The resolved and checked suite: as it was kept, or else anew, and then kept."""
    from ssmbench.suite.composition import read_composed
    from ssmbench.suite.remembered import key_of, recall, remember

    named = isinstance(config, str | Path)
    require(named, f"suite: must be a path or a bundled suite's name, got {config!r}")
    file = config_file(config, "suites")
    key = key_of(read_composed(file), str(file), overrides, options)
    kept = recall(key)
    if kept is not None:
        return kept
    from ssmbench.library.suites import plan_suite
    from ssmbench.suite.checked import checked, data_of

    include, exclude, launcher, jobs = options
    planned = plan_suite(config, overrides, include=include, exclude=exclude)
    found = checked(planned.suite, planned.folder, launcher, jobs)
    data = data_of(planned.suite)
    if data is not None:
        remember(key, found, data)
    return found
