"""Curves of a training, of several runs over each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ssmbench.figures.bounds import declared_bounds
from ssmbench.figures.chart import Chart, Panel, Series, wide
from ssmbench.figures.drawing import draw
from ssmbench.figures.style import colours_for, styles_for

Points = tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]


def training_figure(curves: Mapping[str, Mapping[str, Points]], title: str = "") -> Figure:
    """:func:`training_chart` as a figure."""
    return draw(training_chart(curves, title))


def training_chart(
    curves: Mapping[str, Mapping[str, Points]],
    title: str = "",
    declared: Mapping[str, Mapping[str, float]] | None = None,
) -> Chart:
    """One panel per metric, one line per run: metric -> run label -> (steps, values).

    Values that are not finite leave a gap, and the panel says from which step on. An axis is
    logarithmic where the values are positive and span more than a decade. ``declared``: metric ->
    run label -> the bound that the run declares on it.
    """
    bounds = declared or {}
    labels = [label for runs in curves.values() for label in runs]
    colours, styles = colours_for(labels), styles_for(labels)
    panels = tuple(
        _panel(metric, runs, bounds.get(metric, {}), colours, styles)
        for metric, runs in curves.items()
    )
    return Chart(title, panels)


def _panel(
    metric: str,
    runs: Mapping[str, Points],
    declared: Mapping[str, float],
    colours: Mapping[str, str],
    styles: Mapping[str, str],
) -> Panel:
    series, alerts = [], []
    for label, (steps, values) in runs.items():
        x, y = np.asarray(steps, dtype=float), np.asarray(values, dtype=float)
        finite = np.isfinite(y)
        if not finite.all():
            first = f"{(~finite).sum()} of {len(x)} not finite, from step {x[~finite][0]:.0f}"
            alerts.append(f"{label}: {first}" if label and len(runs) > 1 else first)
        shown = np.where(finite, y, np.nan)
        few = len(x) <= 12
        series.append(Series(label, x, shown, colours[label], style=styles[label], marks=few))
    log = wide(*(s.y for s in series), list(declared.values()))
    return Panel(
        metric,
        xlabel="optimizer step",
        series=tuple(series),
        bounds=declared_bounds(declared, colours),
        alerts=_short(alerts),
        ylog=log,
    )


def _short(alerts: list[str]) -> tuple[str, ...]:
    if len(alerts) <= 2:
        return tuple(alerts)
    return (*alerts[:2], f"and {len(alerts) - 2} more runs that are not finite")
