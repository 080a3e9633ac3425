"""Figures of scores against gains: the trade-off between accuracy and amplification."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssmbench.report.figures.style import (
    colours_of,
    keys_of,
    label_plainly,
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
class _Gains:
    """The quantities on the horizontal axis: a gain and, if available, an upper bound on it."""

    label: str
    of: Callable[[Row], float | None]
    bound: Callable[[Row], float | None] = lambda row: None

    def finite(self, table: Iterable[Row]) -> list[float]:
        """All numbers that the axis must show."""
        values = [value for row in table for value in (self.of(row), self.bound(row))]
        return [v for v in values if v is not None and 0 < v < math.inf] or [1.0]


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
    drawn = [row for row in table if row.score_mean is not None and gains.of(row) is not None]
    high, edge = _set_limits(axis, gains.finite(drawn))
    if any(math.isinf(gains.of(row)) for row in drawn):
        _draw_unstable_band(axis, high, edge)
    for row in drawn:
        _draw_row(axis, row, gains, styles, colours, at_infinity=math.sqrt(high * edge))
    missing = [f"{r.variant} {r.discretizer}: {r.outcome}" for r in table if r.score_mean is None]
    if missing:
        label = axis.get_xlabel() + "\nno score: " + "; ".join(missing)
        axis.set_xlabel(label, fontsize=8)


def _set_limits(axis: Axes, finite: list[float]) -> tuple[float, float]:
    """The right ends of the finite gains and of the axis, with space for the band between."""
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


def _draw_row(
    axis: Axes,
    row: Row,
    gains: _Gains,
    styles: dict[str, str],
    colours: dict[str, str],
    at_infinity: float,
) -> None:
    """Draw the score at its gain, with a line to the bound if the bound is finite."""
    gain, bound = gains.of(row), gains.bound(row)
    x = gain if math.isfinite(gain) else at_infinity
    if bound is not None and math.isfinite(bound):
        ends = {"marker": "|", "ms": 9, "markevery": [1], "lw": 1, "alpha": 0.7}
        axis.plot([x, bound], [row.score_mean] * 2, color=colours[row.variant], **ends)
    axis.errorbar(
        x,
        row.score_mean,
        yerr=row.score_spread or 0,
        marker=styles[row.discretizer],
        color=colours[row.variant],
        capsize=2,
        ms=7,
        alpha=0.85,
    )
