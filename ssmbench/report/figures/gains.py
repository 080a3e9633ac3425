"""Figures of scores against gains: the trade-off between accuracy and amplification."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssmbench.figures.style import label_plainly
from ssmbench.report.figures.style import (
    colours_of,
    keys_of,
    markers_of,
    with_unit,
)
from ssmbench.report.statistics import Row

_UNSTABLE_BAND = 0.12  # share of the axis, at the right, for infinite gains


def score_against_gain(table: Iterable[Row]) -> Figure:
    """One panel per task: score against verified layer gain; unstable variants in a band."""
    label = "verified gain of the SSM layers (H-infinity norm)"
    return _score_against(table, _Gains(label, lambda row: row.verified))


def score_against_network_gain(table: Iterable[Row]) -> Figure:
    """One panel per task: score against attacked network gain, with a line to a finite bound."""
    label = "incremental gain of the network: attacked, and its bound ( | )"
    gains = _Gains(label, lambda row: row.network_attacked, lambda row: row.network_bound)
    return _score_against(table, gains)


@dataclass(frozen=True)
class _Point:
    """A row that has both a score and a gain; ``bound`` is an upper bound on the gain, if known."""

    row: Row
    gain: float
    score: float
    bound: float | None


@dataclass(frozen=True)
class _Gains:
    """The quantities on the horizontal axis: a gain and, if available, an upper bound on it."""

    label: str
    of: Callable[[Row], float | None]
    bound: Callable[[Row], float | None] = lambda row: None

    def points(self, table: Iterable[Row]) -> list[_Point]:
        """The rows that can be drawn."""
        return [
            _Point(row, gain, row.score_mean, self.bound(row))
            for row in table
            if row.score_mean is not None and (gain := self.of(row)) is not None
        ]


def _score_against(table: Iterable[Row], gains: _Gains) -> Figure:
    table = list(table)
    tasks = list(dict.fromkeys(row.task for row in table))
    figure = Figure(figsize=(5.2 * len(tasks) + 2.2, 4.4), layout="constrained")
    axes = figure.subplots(1, len(tasks), squeeze=False)
    colours, styles = colours_of(table), markers_of(table)
    for axis, task in zip(axes[0], tasks, strict=True):
        _draw_task(axis, [row for row in table if row.task == task], styles, colours, gains)
    figure.legend(handles=keys_of(colours, styles), loc="outside right center", frameon=False)
    return figure


def _draw_task(
    axis: Axes,
    table: list[Row],
    styles: dict[str, str],
    colours: dict[str, str],
    gains: _Gains,
) -> None:
    axis.set_xscale("log")
    axis.set(title=table[0].task, xlabel=gains.label, ylabel=with_unit(table[0]))
    axis.grid(alpha=0.3)
    points = gains.points(table)
    high, edge = _set_limits(axis, points)
    if any(math.isinf(point.gain) for point in points):
        _draw_unstable_band(axis, high, edge)
    for point in points:
        _draw_point(axis, point, styles, colours, at_infinity=math.sqrt(high * edge))
    missing = [f"{r.variant} {r.discretizer}: {r.outcome}" for r in table if r.score_mean is None]
    if missing:
        label = axis.get_xlabel() + "\nno score: " + "; ".join(missing)
        axis.set_xlabel(label, fontsize=8)


def _set_limits(axis: Axes, points: list[_Point]) -> tuple[float, float]:
    """The right ends of the finite gains and of the axis, with space for the band between."""
    values = [value for point in points for value in (point.gain, point.bound)]
    finite = [v for v in values if v is not None and 0 < v < math.inf] or [1.0]
    low, high = min(finite) / 1.5, max(finite) * 1.5
    # a share of the axis in log scale
    edge = high * (high / low) ** (_UNSTABLE_BAND / (1 - _UNSTABLE_BAND))
    axis.set_xlim(low, edge)
    label_plainly(axis.xaxis)
    return high, edge


def _draw_unstable_band(axis: Axes, start: float, end: float) -> None:
    axis.axvspan(start, end, color="red", alpha=0.08)
    axis.text(
        start * 1.02,
        0.98,
        "unstable: infinite gain",
        rotation=90,
        va="top",
        ha="left",
        transform=axis.get_xaxis_transform(),
        color="darkred",
        fontsize=8,
    )


def _draw_point(
    axis: Axes,
    point: _Point,
    styles: dict[str, str],
    colours: dict[str, str],
    at_infinity: float,
) -> None:
    """Draw the score at its gain, with a line to the bound if the bound is finite."""
    colour = colours[point.row.variant]
    x = point.gain if math.isfinite(point.gain) else at_infinity
    if point.bound is not None and math.isfinite(point.bound):
        ends = {"marker": "|", "ms": 9, "markevery": [1], "lw": 1, "alpha": 0.7}
        axis.plot([x, point.bound], [point.score] * 2, color=colour, **ends)
    axis.errorbar(
        x,
        point.score,
        yerr=point.row.score_spread or 0,
        marker=styles[point.row.discretizer],
        color=colour,
        capsize=2,
        ms=7,
        alpha=0.85,
    )
