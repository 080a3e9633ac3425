"""Collect one record per run from a suite's record and the folders of its runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssmbench.errors import UsageError, require
from ssmbench.publication.layout import (
    Entry,
    config_file,
    is_published,
    read_leaderboard,
    read_result,
)
from ssmbench.results import Result
from ssmbench.runs.folder import RunFolder
from ssmbench.runs.states import COMPLETE
from ssmbench.suite.record import RUNS, read_suite

#: States of which the report says why; a run in another one is complete or going to be.
_EXPLAINED = ("failed", "interrupted", "out_of_time", "damaged", "unreadable")


@dataclass(frozen=True)
class RunRecord:
    """One run of a suite, for its report; ``result`` is None unless the run is complete.

    ``reason``: why it is in its state, "" where that needs none. ``source``: the name of the suite
    where several are joined, else "". ``folder``: the run's, None where there is none.
    """

    task: str
    variant: str
    discretizer: str
    seed: int
    fingerprint: str
    state: str
    result: Result | None
    reason: str = ""
    source: str = ""
    folder: Path | None = field(default=None, compare=False)

    @property
    def is_complete(self) -> bool:
        """Whether it has a result: it is finished, or it diverged."""
        return self.result is not None


def collect(root: Path) -> list[RunRecord]:
    """The runs of the suite in ``root``, complete or not, in the suite's order; or those of a
    published folder.

    Raises:
        UsageError: no suite was run in ``root``, or it is the folder of a search, whose trials have
            test scores that must not be compared.
    """
    if is_published(root):
        return published_records(root)
    suite = read_suite(root)
    searched = "objective" in suite
    require(not searched, f"{root}: a search has no report; run its best.yaml, and report on that")
    return [_record(root, cell) for cell in suite["cells"]]


def published_records(root: Path) -> list[RunRecord]:
    """The runs of a folder that ``ssmbench publish`` wrote; their folders have no curves and no
    poles.

    Raises:
        UsageError: there is no readable list of its runs.
    """
    return [_published(root, entry) for entry in read_leaderboard(root)]


def _published(root: Path, entry: Entry) -> RunRecord:
    try:
        result, reason = read_result(root, entry), ""
    except UsageError as error:
        result, reason = None, str(error)
    return RunRecord(
        task=entry.task,
        variant=entry.variant,
        discretizer=entry.discretizer,
        seed=entry.seed,
        fingerprint=entry.fingerprint,
        state=f"damaged: {reason}" if reason else entry.status,
        result=result,
        reason=reason,
        folder=config_file(root, entry).parent,
    )


def _record(root: Path, cell: Mapping[str, Any]) -> RunRecord:
    folder = RunFolder(root / RUNS / cell["fingerprint"])
    state = folder.checked_state
    reason = folder.checked_reason if state in _EXPLAINED else ""
    return RunRecord(
        task=cell["task"],
        variant=cell["variant"],
        discretizer=cell["discretizer"],
        seed=cell["seed"],
        fingerprint=cell["fingerprint"],
        state=f"{state}: {reason}" if state in ("damaged", "unreadable") else state,
        result=folder.result if state in COMPLETE else None,
        reason=reason,
        folder=folder.path,
    )
