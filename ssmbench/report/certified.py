"""Certified accuracy of variants, beside that of nearest neighbours, and certified changes."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ssmbench.report.collect import RunRecord
from ssmbench.report.curves import RobustnessRow
from ssmbench.results import Certified, RobustnessPoint

#: The name of the classifier that every certified network is compared with, and of its curve.
NEAREST = "nearest neighbour"


@dataclass(frozen=True)
class CertifiedRow:
    """What is certified of one variant, over its finished runs, or of nearest neighbours.

    ``median_radius``: the mean over runs, relative to ``typical_norm``, that of a typical input or
    encoded input (``gains_from``); None for the ``reason`` given. ``of``: "sequence" or "step",
    whose prediction is certified. ``largest_changes``: of real outputs, the largest over runs of
    the change under a disturbance of the typical norm, in ``unit``.
    """

    task: str
    variant: str
    discretizer: str
    runs: int
    gains_from: str
    of: str
    typical_norm: float
    median_radius: float | None
    largest_changes: tuple[float, ...]
    unit: str
    reason: str


def certified_rows(records: Iterable[RunRecord]) -> list[CertifiedRow]:
    """One row per task, variant and discretizer, and one for the nearest neighbours of each task
    that has them, after its variants."""
    groups: dict[tuple[str, str, str], list[Certified]] = {}
    for record, found in _known(records):
        key = (record.task, record.variant, record.discretizer)
        groups.setdefault(key, []).append(found)
    tasks = list(dict.fromkeys(task for task, _, _ in groups))
    return [row for task in tasks for row in _of_task(task, groups)]


def _known(records: Iterable[RunRecord]) -> Iterable[tuple[RunRecord, Certified]]:
    for record in records:
        if record.result is not None and record.result.certified is not None:
            yield record, record.result.certified


def _of_task(
    task: str, groups: dict[tuple[str, str, str], list[Certified]]
) -> Iterable[CertifiedRow]:
    mine = {key: found for key, found in groups.items() if key[0] == task}
    yield from (_row(key, found) for key, found in mine.items())
    first = next(iter(mine.values()))[0]
    floor = first.nearest_neighbour
    if floor is not None:
        yield CertifiedRow(
            task=task,
            variant=NEAREST,
            discretizer="none",
            runs=1,
            gains_from="input",
            of="sequence",
            typical_norm=first.typical_norm,
            median_radius=floor.median_radius,
            largest_changes=(),
            unit="",
            reason=floor.reason,
        )


def _row(key: tuple[str, str, str], found: Sequence[Certified]) -> CertifiedRow:
    radii = [one.median_radius for one in found]
    known = [radius for radius in radii if radius is not None]
    changes = [one.largest_changes for one in found]
    first = found[0]
    return CertifiedRow(
        *key,
        runs=len(found),
        gains_from=first.gains_from,
        of=first.of,
        typical_norm=statistics.fmean(one.typical_norm for one in found),
        median_radius=statistics.fmean(known) if len(known) == len(found) else None,
        largest_changes=tuple(map(max, zip(*changes, strict=True))) if all(changes) else (),
        unit=first.unit,
        reason=next((one.reason for one in found if one.reason), ""),
    )


def floor_rows(records: Iterable[RunRecord]) -> list[RobustnessRow]:
    """The certified accuracy of nearest neighbours on each task, at every energy."""
    curves: dict[str, tuple[RobustnessPoint, ...]] = {}
    for record, found in _known(records):
        if found.nearest_neighbour is not None:
            curves.setdefault(record.task, found.nearest_neighbour.curve)
    return [
        RobustnessRow(task, NEAREST, "none", NEAREST, point.energy, 1, point.score, None)
        for task, curve in curves.items()
        for point in curve
    ]
