"""What a run logged while it was trained, in ``metrics.jsonl``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ssmbench import jsonio

METRICS_FILE = "metrics.jsonl"

#: Steps and values of one metric, of the same length.
Curve = tuple[list[float], list[float]]


def read_metrics(folder: Path) -> dict[str, Curve]:
    """The curves of a run by metric, for example ``val/loss`` and ``layer0/verified_gain``, in the
    order of the optimizer steps; none if nothing was logged.

    Where a resumed run logged a step again, the later value holds.
    """
    found: dict[str, dict[float, float]] = {}
    for row in jsonio.read_lines(folder / METRICS_FILE):
        if not isinstance(row, Mapping) or not _is_number(row.get("step")):
            continue
        for name, value in row.items():
            if name not in ("step", "epoch") and _is_number(value):
                found.setdefault(name, {})[row["step"]] = float(value)
    return {name: _sorted(points) for name, points in found.items()}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _sorted(points: Mapping[float, float]) -> Curve:
    steps = sorted(points)
    return steps, [points[step] for step in steps]
