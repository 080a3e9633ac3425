"""Printing of what was published, and of verdicts on it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ssmbench.cli.printing import print_json
from ssmbench.cli.streams import one_line, say

if TYPE_CHECKING:
    from ssmbench.publication.verify import Verification
    from ssmbench.publication.write import Published


def print_published(found: Published, as_json: bool) -> None:
    """Print how many runs were published where, and what was left out and why."""
    if as_json:
        print_json(
            {
                "folder": str(found.folder),
                "runs": [entry.to_dict() for entry in found.entries],
                "skipped": [{"run": run, "reason": reason} for run, reason in found.skipped],
                "left_out": found.left_out,
                "size": found.size,
                "uploaded": found.uploaded,
            }
        )
        return
    for run, reason in found.skipped:
        say(one_line(f"left out: {run}: {reason}"))
    again = f" ({found.replaced} of them again)" if found.replaced else ""
    size = f"{found.size / 2**20:.1f} MB"
    say(f"{len(found.entries)} runs published{again}: {found.folder}, {size} in all")
    if found.left_out:
        say(f"not published: {found.left_out} (--with-hosts keeps them)")
    if found.uploaded:
        say(f"uploaded: {found.uploaded}")


def print_verification(found: Verification, as_json: bool) -> None:
    """Print a line for each run, what could not be checked, and a summary."""
    if as_json:
        print_json(found.to_dict())
        return
    for problem in found.problems:
        say(one_line(f"folder: REJECTED: {problem}"))
    for verdict in found.verdicts:
        say(one_line(str(verdict)))
    open_ = Counter(note for verdict in found.verdicts for note in verdict.not_checked)
    for note, count in open_.items():
        say(one_line(f"not checked: {note} ({count} runs)"))
    counts = ", ".join(f"{found.count(o)} {o}" for o in ("accepted", "rejected", "not verified"))
    problems = f"; the folder itself has {len(found.problems)} problems" if found.problems else ""
    say(f"{len(found.verdicts)} runs in {found.seconds:.0f} s: {counts}{problems}")
