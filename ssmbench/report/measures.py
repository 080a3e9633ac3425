"""The measures of SSM layers beside their gains, over layers and finished runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ssmbench.report.collect import RunRecord
from ssmbench.results import LayerMeasure


@dataclass(frozen=True)
class MeasureRow:
    """One measure of one variant: the worst over the layers of all finished runs.

    ``proved``: what holds of every layer, infinite where nothing is proved; None where the measure
    could not be taken of a layer, for the reason in ``note``. ``layers``: how many were measured.
    """

    task: str
    variant: str
    discretizer: str
    measure: str
    unit: str
    layers: int
    declared: float | None
    value: float | None
    proved: float | None
    attacked: float | None
    note: str


def measure_rows(records: Iterable[RunRecord]) -> list[MeasureRow]:
    """One row per (task, variant, discretizer, measure), in the order of first appearance."""
    groups: dict[tuple[str, str, str, str], list[LayerMeasure]] = {}
    for record in records:
        for layer in record.result.gain.layers if record.result else ():
            for found in layer.measures:
                key = (record.task, record.variant, record.discretizer, found.name)
                groups.setdefault(key, []).append(found)
    return [_row(key, found) for key, found in groups.items()]


def _row(key: tuple[str, str, str, str], found: Sequence[LayerMeasure]) -> MeasureRow:
    worst = max if found[0].larger_is_worse else min
    proved = [one.upper if one.larger_is_worse else one.lower for one in found]
    notes = dict.fromkeys(one.note for one in found if one.note)
    return MeasureRow(
        *key,
        unit=next((one.unit for one in found if one.unit), ""),
        layers=len(found),
        declared=_of_all(worst, (one.declared for one in found)),
        value=_of_all(worst, (one.value for one in found)),
        proved=_of_all(worst, proved),
        attacked=_of_all(worst, (one.attacked for one in found)),
        note="; ".join(notes),
    )


def _of_all(worst: Callable[[list[float]], float], values: Iterable[float | None]) -> float | None:
    """The worst of all; None if a layer does not have the figure."""
    listed = list(values)
    known = [value for value in listed if value is not None]
    return worst(known) if known and len(known) == len(listed) else None
