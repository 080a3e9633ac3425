"""How long the runs of a suite take: measured in its folder, by complete runs or by a probe. Loads
no torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from ssmbench import jsonio
from ssmbench.runs.folder import RESULT_FILE

#: The seconds that a probe has measured, by label without the seed, in the suite's folder.
PROBE_FILE = "probe.json"

#: Task, variant and discretizer: runs of one kind differ in the seed only.
Kind = tuple[str, str, str]


@dataclass(frozen=True)
class Estimates:
    """Seconds of a run by its kind. ``probed``: of kinds without a complete run."""

    measured: Mapping[Kind, float] = field(default_factory=dict)
    probed: Mapping[Kind, float] = field(default_factory=dict)

    def seconds(self, kind: Kind) -> float | None:
        """The expected seconds of a run; those of the same task and variant with another
        discretizer if there is none of its kind; None if nothing is known."""
        for known in (self.measured, self.probed):
            if kind in known:
                return known[kind]
        alike = [value for other, value in self.measured.items() if other[:2] == kind[:2]]
        return fmean(alike) if alike else None


def estimates(root: Path, results: Iterable[tuple[Kind, Mapping[str, Any]]]) -> Estimates:
    """The estimates of a suite in the folder ``root``, from the contents of ``result.json`` of its
    complete runs and from the probe."""
    found: dict[Kind, list[float]] = defaultdict(list)
    for kind, result in results:
        seconds = result.get("seconds")
        if isinstance(seconds, int | float) and result.get("status") == "finished":
            found[kind].append(float(seconds))
    return Estimates({kind: fmean(values) for kind, values in found.items()}, probed(root))


def read_result(folder: Path) -> Mapping[str, Any]:
    """The content of a run's ``result.json``, not checked; empty if it cannot be read."""
    content = jsonio.read(folder / RESULT_FILE)
    return content if isinstance(content, dict) else {}


def probed(root: Path) -> dict[Kind, float]:
    """The seconds that a probe has found, by kind."""
    content = jsonio.read(root / PROBE_FILE)
    shape = [{"task": str, "variant": str, "discretizer": str, "seconds": (int, float)}]
    if not jsonio.has_shape(content, shape):
        return {}
    return {
        (row["task"], row["variant"], row["discretizer"]): float(row["seconds"]) for row in content
    }


def in_words(seconds: float | None) -> str:
    """A duration for people: ``45 s``, ``12 min``, ``3.5 h``, ``2.1 d``; "?" for None."""
    if seconds is None:
        return "?"
    for unit, size, limit in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48)):
        if seconds < limit * size:
            value = seconds / size
            return f"{value:.1f} {unit}" if unit == "h" and value < 10 else f"{value:.0f} {unit}"
    return f"{seconds / 86400:.1f} d"
