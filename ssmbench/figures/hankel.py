"""Hankel singular values of layers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from ssmbench.figures.chart import Chart, Panel, Series
from ssmbench.figures.drawing import draw
from ssmbench.figures.style import colours_for, styles_for

#: Values below this share of the largest are rounding, and not drawn.
_ROUNDING = 1e-15


def hankel_figure(values: Mapping[str, np.ndarray], title: str = "") -> Figure:
    """Hankel singular values (N,) or, of a bank, (H, N), all layers in one panel; see
    :func:`hankel_chart`."""
    return draw(hankel_chart({"": values}, title))


def hankel_chart(panels: Mapping[str, Mapping[str, np.ndarray]], title: str = "") -> Chart:
    """One panel per group, one line per layer: the values, largest first, against their number.

    Of a bank of heads the line is the median over the heads, and the shade reaches from the
    smallest to the largest. A value that is infinite is that of an unstable head, and is said in
    words.
    """
    names = [name for values in panels.values() for name in values]
    colours, styles = colours_for(names), styles_for(names)
    drawn = tuple(
        _panel(group, {n: np.atleast_2d(v) for n, v in values.items()}, colours, styles)
        for group, values in panels.items()
    )
    return Chart(title, drawn)


def _panel(
    title: str,
    values: Mapping[str, np.ndarray],
    colours: Mapping[str, str],
    styles: Mapping[str, str],
) -> Panel:
    series, alerts, notes = [], [], []
    for name, heads in values.items():
        stable = heads[np.isfinite(heads).all(1)]
        about = f"{name}: " if name else ""
        if len(stable) < len(heads):
            alerts.append(about + _unstable(len(heads) - len(stable), len(heads)))
        if stable.size:
            series.append(_line(name, stable, colours[name], styles[name]))
    if any(len(heads) > 1 for heads in values.values()):
        notes.append("line: median of the heads; shade: smallest to largest")
    return Panel(
        title=title,
        xlabel="number",
        ylabel="Hankel singular value",
        series=tuple(series),
        notes=tuple(notes),
        alerts=tuple(alerts),
        ylog=True,
    )


def _unstable(some: int, heads: int) -> str:
    which = "" if heads == 1 else f"{some} of {heads} heads "
    return f"{which}unstable: no Hankel singular values"


def _line(name: str, heads: np.ndarray, colour: str, style: str) -> Series:
    count = np.arange(1, heads.shape[1] + 1)
    floor = _ROUNDING * heads.max(initial=0.0)
    shown = np.where(heads > floor, heads, np.nan)
    known = np.isfinite(shown).any(0)
    shown, count = shown[:, known], count[known]
    middle = np.nanmedian(shown, 0) if shown.size else np.empty(0)
    band = (np.nanmin(shown, 0), np.nanmax(shown, 0)) if len(heads) > 1 and shown.size else None
    return Series(name, count, middle, colour, style=style, band=band, marks=len(count) <= 40)
