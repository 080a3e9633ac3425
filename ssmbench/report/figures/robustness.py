"""Figure of scores against the energy of a disturbance."""

from __future__ import annotations

import math
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
from ssmbench.report.statistics import RobustnessRow, Row

_LINES = {"adversarial": "-", "random": "--", "certified": ":"}
_FLOOR = {"color": "0.35", "ls": (0, (6, 3)), "lw": 1.2, "alpha": 0.85}
_LABEL_ROOM = math.log(1.6)  # between labelled energies
_TO_ZERO = 4.0  # energy 0 is drawn at the smallest energy divided by this (logarithmic axis)


def robustness(
    points: Iterable[RobustnessRow],
    table: Iterable[Row],
    task: str,
    floor: Iterable[RobustnessRow] = (),
) -> Figure:
    """Score against disturbance energy, one line per variant and discretizer, with error bars; and
    the curve of the ``floor``, what nearest neighbours certify.

    ``table``: the rows of the whole report; they determine the colours and the name of the score.
    """
    table, points = list(table), [point for point in points if point.task == task]
    figure = Figure(figsize=(8.2, 4.6), layout="constrained")
    axis = figure.subplots()
    keys = _draw_curves(axis, points, colours_of(table), markers_of(table))
    keys += _draw_floor(axis, [point for point in floor if point.task == task], points)
    row = next(row for row in table if row.task == task)
    axis.set(title=f"Robustness: {task}", ylabel=with_unit(row))
    means = [point.score_mean for point in points if point.score_mean is not None]
    if not row.higher_is_better and min(means, default=0) > 0:  # errors grow by factors
        axis.set_yscale("log")
        label_plainly(axis.yaxis)
    figure.legend(handles=keys, loc="outside right center", frameon=False)
    return figure


def _draw_curves(
    axis: Axes, points: list[RobustnessRow], colours: dict[str, str], markers: dict[str, str]
) -> list[Line2D]:
    """Draw all curves and label the axis; returns the legend entries."""
    curves: dict[tuple[str, str, str], list[RobustnessRow]] = {}
    for point in points:
        curves.setdefault((point.variant, point.discretizer, point.kind), []).append(point)
    smallest = min((point.energy for point in points if point.energy > 0), default=1.0)
    for (variant, discretizer, kind), curve in curves.items():
        style = {"color": colours[variant], "marker": markers[discretizer], "ls": _LINES[kind]}
        _draw_curve(axis, curve, smallest / _TO_ZERO, style)
    _label_energies(axis, points, smallest)
    variants, discretizers = ({key[i] for key in curves} for i in (0, 1))
    kinds = {kind for _, _, kind in curves}
    styles = [(kind, ls) for kind, ls in _LINES.items() if kind in kinds]
    keys = [Line2D([], [], color="black", ls=ls, label=kind) for kind, ls in styles]
    return keys + keys_of(
        {v: c for v, c in colours.items() if v in variants},
        {d: m for d, m in markers.items() if d in discretizers},
    )


def _draw_floor(
    axis: Axes, floor: list[RobustnessRow], points: list[RobustnessRow]
) -> list[Line2D]:
    if not floor:
        return []
    smallest = min((point.energy for point in points if point.energy > 0), default=1.0)
    zero = smallest / _TO_ZERO
    known = [(p.energy or zero, p.score_mean) for p in floor if p.score_mean is not None]
    axis.plot([energy for energy, _ in known], [score for _, score in known], **_FLOOR)
    return [Line2D([], [], label=f"{floor[0].variant}, certified", **_FLOOR)]


def _draw_curve(axis: Axes, line: list[RobustnessRow], zero: float, style: dict[str, Any]) -> None:
    known = [(point, point.score_mean) for point in line if point.score_mean is not None]
    axis.errorbar(
        [point.energy or zero for point, _ in known],
        [mean for _, mean in known],
        yerr=[point.score_spread or 0 for point, _ in known],
        capsize=2,
        ms=4,
        lw=1.2,
        alpha=0.85,
        **style,
    )


def _label_energies(axis: Axes, points: Iterable[RobustnessRow], smallest: float) -> None:
    """Use a logarithmic axis, with 0 left of the smallest energy, behind a dotted line."""
    energies = sorted({point.energy for point in points})
    axis.set_xscale("log")
    places = [energy or smallest / _TO_ZERO for energy in energies]
    axis.set_xticks(places, _apart(places, [f"{energy:g}" for energy in energies]))
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.axvline(smallest / math.sqrt(_TO_ZERO), color="black", lw=0.8, ls=":", alpha=0.6)
    axis.set_xlabel("norm of the disturbance / norm of a typical input")


def _apart(places: Iterable[float], labels: Iterable[str]) -> list[str]:
    """The labels without those that would stand in the one before."""
    shown, last = [], -math.inf
    for place, label in zip(places, labels, strict=True):
        free = math.log(place) - last >= _LABEL_ROOM
        shown.append(label if free else "")
        last = math.log(place) if free else last
    return shown
