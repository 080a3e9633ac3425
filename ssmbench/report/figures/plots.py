"""The plots of a report, as PNG files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np

from ssmbench.report.collect import RunRecord
from ssmbench.report.statistics import RobustnessRow, Row
from ssmbench.runs.folder import read_poles

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

_MARKERS = "osD^vPX*<>"
_LINES = {"adversarial": "-", "random": "--"}
_TO_ZERO = 4.0  # energy 0 stands this factor left of the smallest one, on a logarithmic axis
_UNSTABLE_BAND = 0.12  # share of the axis, at the right, for infinite gains


def score_against_gain(table: Iterable[Row], path: Path) -> Path:
    """One panel a task: score against verified layer gain; unstable variants in a band."""
    label = "verified gain of the SSM layers (H-infinity norm)"
    return _score_against(table, path, _Gains(label, lambda row: row.verified))


def score_against_network_gain(table: Iterable[Row], path: Path) -> Path:
    """One panel a task: score against attacked network gain, a line up to the bound if finite."""
    label = "incremental gain of the network: attacked, and its bound ( | )"
    gains = _Gains(label, lambda row: row.network_attacked, lambda row: row.network_bound)
    return _score_against(table, path, gains)


@dataclass(frozen=True)
class _Gains:
    """What stands on the horizontal axis: a gain and, where there is one, an upper bound on it."""

    label: str
    of: Callable[[Row], float | None]
    bound: Callable[[Row], float | None] = lambda row: None

    def finite(self, table: Iterable[Row]) -> list[float]:
        """All numbers that the axis must show."""
        values = [value for row in table for value in (self.of(row), self.bound(row))]
        return [v for v in values if v is not None and 0 < v < math.inf] or [1.0]


def _score_against(table: Iterable[Row], path: Path, gains: _Gains) -> Path:
    table = list(table)
    tasks = list(dict.fromkeys(row.task for row in table))
    figure, axes = plt.subplots(
        1, len(tasks), figsize=(5.2 * len(tasks) + 2.2, 4.4), squeeze=False, layout="constrained"
    )
    colours, styles = _colours(table), _markers(table)
    for axis, task in zip(axes[0], tasks, strict=True):
        _draw_task(axis, [row for row in table if row.task == task], styles, colours, gains)
    figure.legend(handles=_keys(colours, styles), loc="outside right center", frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path


def _colours(table: Iterable[Row]) -> dict[str, str]:
    """One for each variant, the same in every plot of a report."""
    return {v: f"C{i % 10}" for i, v in enumerate(dict.fromkeys(row.variant for row in table))}


def _markers(table: Iterable[Row]) -> dict[str, str]:
    """One for each discretizer."""
    names = dict.fromkeys(row.discretizer for row in table)
    return {d: _MARKERS[i % len(_MARKERS)] for i, d in enumerate(names)}


def _keys(colours: dict[str, str], markers: dict[str, str]) -> list[Line2D]:
    keys = [Line2D([], [], color=c, marker="s", ls="", label=v) for v, c in colours.items()]
    return keys + [
        Line2D([], [], color="black", marker=m, ls="", mfc="none", label=d)
        for d, m in markers.items()
    ]


def _draw_task(
    axis: Axes,
    table: list[Row],
    styles: dict[str, str],
    colours: dict[str, str],
    gains: _Gains,
) -> None:
    axis.set_xscale("log")
    axis.set(title=table[0].task, xlabel=gains.label)
    unit = f" [{table[0].unit}]" if table[0].unit else ""
    axis.set_ylabel(f"test {table[0].metric}{unit}")
    axis.grid(alpha=0.3)
    drawn = [row for row in table if row.score_mean is not None and gains.of(row) is not None]
    finite = gains.finite(drawn)
    low, high = min(finite) / 1.5, max(finite) * 1.5
    # room for the band: a share of the axis in log scale
    edge = high * (high / low) ** (_UNSTABLE_BAND / (1 - _UNSTABLE_BAND))
    axis.set_xlim(low, edge)
    _label_plainly(axis.xaxis)
    if any(math.isinf(gains.of(row)) for row in drawn):
        axis.axvspan(high, edge, color="red", alpha=0.08)
        axis.text(
            high * 1.02,
            0.98,
            "unstable: infinite gain",
            rotation=90,
            va="top",
            ha="left",
            transform=axis.get_xaxis_transform(),
            color="darkred",
            fontsize=8,
        )
    for row in drawn:
        gain, bound = gains.of(row), gains.bound(row)
        x = gain if math.isfinite(gain) else math.sqrt(high * edge)
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
    missing = [f"{r.variant} {r.discretizer}: {r.outcome}" for r in table if r.score_mean is None]
    if missing:
        label = axis.get_xlabel() + "\nno score: " + "; ".join(missing)
        axis.set_xlabel(label, fontsize=8)


def robustness(
    points: Iterable[RobustnessRow], table: Iterable[Row], task: str, path: Path
) -> Path:
    """Score against disturbance energy, a line a variant and discretizer; bars are deviations.

    ``table``, of the whole report, gives the colours and the score's name.
    """
    table, points = list(table), [point for point in points if point.task == task]
    figure, axis = plt.subplots(figsize=(8.2, 4.6), layout="constrained")
    keys = _draw_curves(axis, points, _colours(table), _markers(table))
    row = next(row for row in table if row.task == task)
    unit = f" [{row.unit}]" if row.unit else ""
    axis.set(title=f"Robustness: {task}", ylabel=f"test {row.metric}{unit}")
    means = [point.score_mean for point in points if point.score_mean is not None]
    if not row.higher_is_better and min(means, default=0) > 0:  # errors grow by factors
        axis.set_yscale("log")
        _label_plainly(axis.yaxis)
    figure.legend(handles=keys, loc="outside right center", frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path


def _draw_curves(
    axis: Axes, points: list[RobustnessRow], colours: dict[str, str], markers: dict[str, str]
) -> list[Line2D]:
    """All curves with their axis; the keys of what is drawn."""
    curves: dict[tuple[str, str, str], list[RobustnessRow]] = {}
    for point in points:
        curves.setdefault((point.variant, point.discretizer, point.kind), []).append(point)
    smallest = min((point.energy for point in points if point.energy > 0), default=1.0)
    for (variant, discretizer, kind), curve in curves.items():
        style = {"color": colours[variant], "marker": markers[discretizer], "ls": _LINES[kind]}
        _draw_curve(axis, curve, smallest / _TO_ZERO, style)
    _label_energies(axis, points, smallest)
    variants, discretizers = ({key[i] for key in curves} for i in (0, 1))
    keys = [Line2D([], [], color="black", ls=ls, label=kind) for kind, ls in _LINES.items()]
    return keys + _keys(
        {v: c for v, c in colours.items() if v in variants},
        {d: m for d, m in markers.items() if d in discretizers},
    )


def _draw_curve(axis: Axes, line: list[RobustnessRow], zero: float, style: dict[str, str]) -> None:
    known = [point for point in line if point.score_mean is not None]
    axis.errorbar(
        [point.energy or zero for point in known],
        [point.score_mean for point in known],
        yerr=[point.score_spread or 0 for point in known],
        capsize=2,
        ms=4,
        lw=1.2,
        alpha=0.85,
        **style,
    )


def _label_energies(axis: Axes, points: Iterable[RobustnessRow], smallest: float) -> None:
    """A logarithmic axis on which 0 stands apart, left of the smallest energy."""
    energies = sorted({point.energy for point in points})
    axis.set_xscale("log")
    axis.set_xticks([e or smallest / _TO_ZERO for e in energies], [f"{e:g}" for e in energies])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.axvline(smallest / math.sqrt(_TO_ZERO), color="black", lw=0.8, ls=":", alpha=0.6)
    axis.set_xlabel("norm of the disturbance / norm of a typical input")


def _label_plainly(axis: Axis) -> None:
    """Numbers, not powers of ten, on a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def poles(records: list[RunRecord], runs: Path, task: str, path: Path) -> Path:
    """One panel a variant: the poles of all layers of its first complete run, in the unit disc."""
    chosen: dict[str, np.ndarray] = {}
    for record in (r for r in records if r.task == task and r.result):
        title = f"{record.variant}\n{record.discretizer}"
        found = None if title in chosen else read_poles(runs / record.fingerprint)
        if found is not None:
            chosen[title] = np.concatenate([layer.ravel() for layer in found.values()])
    columns = min(5, max(1, len(chosen)))
    lines = max(1, math.ceil(len(chosen) / columns))
    figure, axes = plt.subplots(
        lines,
        columns,
        figsize=(2.6 * columns, 2.9 * lines + 0.4),
        squeeze=False,
        layout="constrained",
    )
    figure.suptitle(f"Poles after training: {task}")
    for axis in axes.flat[len(chosen) :]:
        axis.set_axis_off()
    for axis, (title, points) in zip(axes.flat, chosen.items(), strict=False):
        _draw_poles(axis, title, points)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path


def _draw_poles(axis: Axes, title: str, points: np.ndarray) -> None:
    angle = np.linspace(0, 2 * np.pi, 256)
    axis.plot(np.cos(angle), np.sin(angle), color="black", lw=0.8)
    outside = ~(np.abs(points) < 1)
    axis.scatter(points[~outside].real, points[~outside].imag, s=3, alpha=0.4, lw=0, color="C0")
    shown = points[outside & np.isfinite(points)]
    axis.scatter(shown.real, shown.imag, s=5, alpha=0.7, lw=0, color="red")
    reach = max(1.15, min(3.0, 1.1 * np.abs(shown).max(initial=0)))
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axis.set_title(title, fontsize=8)
    axis.tick_params(labelsize=6)
    note = f"{int(outside.sum())} outside" if outside.any() else "all inside"
    axis.set_xlabel(f"largest modulus {np.abs(points).max():.5f}, {note}", fontsize=6)
