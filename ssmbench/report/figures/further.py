"""Figure of scores against the length of the test sequences, or the share of dropped samples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ssmbench.figures.style import label_plainly
from ssmbench.report.figures.style import (
    colours_of,
    keys_of,
    markers_of,
    with_unit,
)
from ssmbench.report.statistics import FurtherRow, Row

#: Factors whose largest is so many times the smallest are drawn on a logarithmic axis; shares,
#: which are below 1, never.
_WIDE = 3.0


def score_against(
    points: Iterable[FurtherRow], table: Iterable[Row], task: str, quantity: str
) -> Figure:
    """Score against the values of a quantity, one line per variant and discretizer; a cross at the
    lower edge where runs diverged.

    ``table``: the rows of the whole report; they determine the colours and the name of the score.
    """
    table = list(table)
    mine = [point for point in points if (point.task, point.quantity) == (task, quantity)]
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axis = figure.subplots()
    colours, markers = colours_of(table), markers_of(table)
    curves: dict[tuple[str, str], list[FurtherRow]] = {}
    for point in mine:
        curves.setdefault((point.variant, point.discretizer), []).append(point)
    for (variant, discretizer), curve in curves.items():
        _draw(axis, curve, {"color": colours[variant], "marker": markers[discretizer]})
    row = next(row for row in table if row.task == task)
    axis.set(title=f"{task}: score against the {quantity}", xlabel=quantity, ylabel=with_unit(row))
    _scale(axis, mine, row)
    variants, discretizers = ({key[i] for key in curves} for i in (0, 1))
    keys = keys_of(
        {v: c for v, c in colours.items() if v in variants},
        {d: m for d, m in markers.items() if d in discretizers},
    )
    if any(point.diverged for point in mine):
        keys.append(Line2D([], [], color="black", marker="x", ls="", label="diverged"))
    figure.legend(handles=keys, loc="outside right center", frameon=False)
    return figure


def _draw(axis: Axes, curve: list[FurtherRow], style: dict[str, Any]) -> None:
    known = [(point.value, point.score_mean, point.score_spread or 0) for point in curve]
    known = [point for point in known if point[1] is not None]
    values, means, spreads = zip(*known, strict=True) if known else ((), (), ())
    axis.errorbar(values, means, yerr=spreads, capsize=2, ms=5, lw=1.2, alpha=0.85, **style)
    lost = [point.value for point in curve if point.diverged]
    edge = {"transform": axis.get_xaxis_transform(), "clip_on": False, "zorder": 3}
    axis.scatter(lost, [0.0] * len(lost), color=style["color"], marker="x", **edge)


def _scale(axis: Axes, points: list[FurtherRow], row: Row) -> None:
    """Ticks at the values; logarithmic where they grow by factors, as errors do."""
    values = sorted({point.value for point in points})
    if values[-1] > 1 and values[-1] >= _WIDE * values[0] > 0:
        axis.set_xscale("log")
    axis.set_xticks(values, [f"{value:g}" for value in values])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    means = [point.score_mean for point in points if point.score_mean is not None]
    if not row.higher_is_better and min(means, default=0) > 0:
        axis.set_yscale("log")
        label_plainly(axis.yaxis)
