"""Figure of the poles of trained layers and the unit circle."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ssmbench.report.collect import RunRecord
from ssmbench.runs.poles import read_poles

_Points = NDArray[np.complexfloating]


def poles(records: Iterable[RunRecord], task: str) -> Figure:
    """One panel per variant and discretizer: all poles of its first readable run, and the unit
    circle."""
    chosen = _first_of_each([r for r in records if r.task == task and r.result])
    columns = min(5, max(1, len(chosen)))
    lines = max(1, math.ceil(len(chosen) / columns))
    figure = Figure(figsize=(2.6 * columns, 2.9 * lines + 0.4), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False)
    figure.suptitle(f"Poles after training: {task}")
    for axis in axes.flat[len(chosen) :]:
        axis.set_axis_off()
    for axis, (title, points) in zip(axes.flat, chosen.items(), strict=False):
        _draw_poles(axis, title, points)
    return figure


def _first_of_each(records: Sequence[RunRecord]) -> dict[str, _Points]:
    """All poles of the first readable run of each variant and discretizer, by title."""
    chosen: dict[str, _Points] = {}
    for record in records:
        title = f"{record.variant}\n{record.discretizer}"
        if title in chosen or record.folder is None:
            continue
        found = read_poles(record.folder)
        if found is not None:
            chosen[title] = np.concatenate([layer.ravel() for layer in found.values()])
    return chosen


def _draw_poles(axis: Axes, title: str, points: _Points) -> None:
    angle = np.linspace(0, 2 * np.pi, 256)
    axis.plot(np.cos(angle), np.sin(angle), color="black", lw=0.8)
    outside = ~(np.abs(points) < 1)
    axis.scatter(points[~outside].real, points[~outside].imag, s=3, alpha=0.4, lw=0, color="C0")
    shown = points[outside & np.isfinite(points)]
    axis.scatter(shown.real, shown.imag, s=5, alpha=0.7, lw=0, color="red")
    reach = max(1.15, min(3.0, 1.1 * np.abs(shown).max(initial=0)))
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axis.set(xticks=(-1, 0, 1), yticks=(-1, 0, 1))  # the layout measures every label
    axis.set_title(title, fontsize=8)
    axis.tick_params(labelsize=6)
    note = f"{int(outside.sum())} outside" if outside.any() else "all inside"
    axis.set_xlabel(f"largest modulus {np.abs(points).max():.5f}, {note}", fontsize=6)
