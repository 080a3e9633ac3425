"""How our scans stand beside the best peer, from the figures of ``ssmbench bench scans``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ssmbench.scans.base import ranked_backends


@dataclass(frozen=True)
class Standing:
    """The fastest of our backends and the fastest peer at one size of an operation; ``ratio``: our
    time of forward and backward divided by the peer's. None where no peer was timed."""

    operation: str
    size: str
    ours: Mapping[str, Any]
    peer: Mapping[str, Any] | None

    @property
    def ratio(self) -> float | None:
        return None if self.peer is None else self.ours["both_ms"] / self.peer["both_ms"]

    @property
    def behind(self) -> bool:
        """Whether a peer is faster."""
        return self.ratio is not None and self.ratio > 1


def standings(rows: Iterable[Mapping[str, Any]]) -> list[Standing]:
    """One for every operation and size, in their order; ``rows``: results as dicts."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["operation"], size_of(row)), []).append(row)
    own = ranked_backends().keys()
    found = []
    for (operation, size), group in groups.items():
        ours = [row for row in group if row["backend"] in own]
        others = [row for row in group if row["backend"] not in own]
        peer = min(others, key=_both, default=None)
        found.append(Standing(operation, size, min(ours, key=_both), peer))
    return found


def size_of(row: Mapping[str, Any]) -> str:
    """Sequences, steps, channels and states of a row, in words."""
    return f"{row['batch']}, {row['length']}, {row['channels']}, {row['states']}"


def summary(found: Iterable[Standing]) -> list[str]:
    """A line for each with a peer, and last which are behind."""
    compared = [s for s in found if s.peer is not None]
    lines = [
        f"{s.operation} ({s.size}): {s.ours['backend']} takes {s.ratio:.2g} times as long as "
        f"{s.peer['backend']}, forward and backward"
        for s in compared
        if s.peer is not None
    ]
    behind = [f"{s.operation} ({s.size})" for s in compared if s.behind]
    if not compared:
        return ["no peer is installed"]
    return [*lines, f"behind the best peer: {'; '.join(behind) if behind else 'none'}"]


def _both(row: Mapping[str, Any]) -> float:
    return row["both_ms"]
