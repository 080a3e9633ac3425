"""Verify a published folder: everything that follows from configs and weights, on a CPU."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssmbench import registry
from ssmbench.errors import require
from ssmbench.publication.checks.copies import copies
from ssmbench.publication.checks.one import Job, check_one
from ssmbench.publication.checks.processes import Limits, check_apart
from ssmbench.publication.checks.tree import read_tree
from ssmbench.publication.checks.verdict import (
    ACCEPTED,
    NOT_VERIFIED,
    REJECTED,
    Findings,
    Verdict,
)
from ssmbench.publication.layout import Entry, read_leaderboard

#: Seconds in which one run must be checked.
TIME_LIMIT = 120.0


@dataclass(frozen=True, repr=False)
class Verification:
    """A verdict on each run, and what is wrong with the folder itself; ``seconds``: wall time."""

    folder: Path
    verdicts: tuple[Verdict, ...]
    problems: tuple[str, ...]
    seconds: float

    @property
    def accepted(self) -> bool:
        """Whether the folder and all of its runs are accepted."""
        return not self.problems and all(one.accepted for one in self.verdicts)

    def count(self, outcome: str) -> int:
        """The number of runs with this outcome: accepted, rejected or "not verified"."""
        return sum(one.outcome == outcome for one in self.verdicts)

    def __repr__(self) -> str:
        counts = ", ".join(f"{self.count(o)} {o}" for o in (ACCEPTED, REJECTED, NOT_VERIFIED))
        problems = f"; {len(self.problems)} problems of the folder" if self.problems else ""
        return f"Verification of {len(self.verdicts)} runs: {counts}{problems}"

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "folder": str(self.folder),
            "accepted": self.accepted,
            "problems": list(self.problems),
            "runs": [one.to_dict() for one in self.verdicts],
            "seconds": self.seconds,
        }


def verify(
    folder: Path,
    *,
    with_data: bool = False,
    limits: Limits | None = None,
    isolated: bool = True,
) -> Verification:
    """Check a published folder that somebody else wrote.

    ``isolated``: each run in a process of its own, which ``limits`` are about; else in this one,
    for tests and for folders of one's own.

    Raises:
        UsageError: it is not a published folder, or its list of entries cannot be read.
    """
    start = time.perf_counter()
    require(folder.is_dir(), f"{folder}: no such folder")
    with registry.untrusted(folder):
        entries = read_leaderboard(folder)
        tree = read_tree(folder, entries)
        broken = {e.fingerprint for e in entries} & tree.of_runs.keys()
        jobs = [Job(str(folder), e, with_data) for e in entries if e.fingerprint not in broken]
        found = _findings(jobs, limits or Limits(TIME_LIMIT), isolated)
        shared: dict[str, list[str]] = {}
        read = [job.entry for job in jobs if not found[job.entry.fingerprint].failed]
        for name, problem in copies(folder, read):
            shared.setdefault(name, []).append(problem)
    wrong = {name: [*tree.of_runs.get(name, []), *shared.get(name, [])] for name in _names(entries)}
    others = [
        f"runs/{name[:60]}: {tree.of_runs[name][0]}"
        for name in sorted(tree.of_runs.keys() - _names(entries))
    ]
    return Verification(
        folder=folder,
        verdicts=tuple(_verdict(e, wrong[e.fingerprint], found) for e in entries),
        problems=(*tree.of_folder, *others),
        seconds=round(time.perf_counter() - start, 2),
    )


def _names(entries: Iterable[Entry]) -> set[str]:
    return {entry.fingerprint for entry in entries}


def _findings(jobs: list[Job], limits: Limits, isolated: bool) -> dict[str, Findings]:
    apart = check_apart(jobs, limits) if isolated else ((job, check_one(job)) for job in jobs)
    return {job.entry.fingerprint: findings for job, findings in apart}


def _verdict(entry: Entry, wrong: list[str], found: Mapping[str, Findings]) -> Verdict:
    findings = found.get(entry.fingerprint, Findings())
    rejected = (*wrong, *findings.rejected)
    outcome = REJECTED if rejected else NOT_VERIFIED if findings.not_verified else ACCEPTED
    return Verdict(
        fingerprint=entry.fingerprint,
        label=entry.label,
        outcome=outcome,
        reasons=tuple(_short(reason) for reason in (*rejected, *findings.not_verified)),
        not_checked=findings.not_checked,
        findings=findings,
    )


def _short(reason: str) -> str:
    """One line, for what a hostile file may have put into it."""
    line = " ".join(reason.split())
    return line if len(line) <= 400 else f"{line[:400]}..."
