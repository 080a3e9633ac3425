"""Scores against gains, and which variants no other one surpasses in both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ssmbench.report.statistics import Row

#: The fields of a row that a score is drawn against.
GAINS = ("verified", "network_bound")


@dataclass(frozen=True)
class TradeOffPoint:
    """The mean score of a row and one of its gains. ``on_front``: no other row of the task has a
    score at least as good and a gain at most as large, one of them strictly."""

    task: str
    variant: str
    discretizer: str
    gain: float
    score: float
    on_front: bool


def trade_off(table: Sequence[Row], gain: str) -> list[TradeOffPoint]:
    """The rows of one task that have a score and the ``gain`` (one of :data:`GAINS`), by the gain;
    infinite ones come last."""
    points = [
        (row, float(getattr(row, gain)), row.score_mean)
        for row in table
        if row.score_mean is not None and getattr(row, gain) is not None
    ]
    signed = [(g, -s if row.higher_is_better else s) for row, g, s in points]
    return sorted(
        (
            TradeOffPoint(row.task, row.variant, row.discretizer, g, s, _on_front(mine, signed))
            for (row, g, s), mine in zip(points, signed, strict=True)
            if not math.isnan(g)
        ),
        key=lambda point: point.gain,
    )


def _on_front(mine: tuple[float, float], all_of_them: Sequence[tuple[float, float]]) -> bool:
    """Whether none is at most as large in both places and different."""
    return not any(
        other != mine and other[0] <= mine[0] and other[1] <= mine[1] for other in all_of_them
    )
