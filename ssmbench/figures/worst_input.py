"""The input that an attack found, and the output that it causes."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ssmbench.figures.chart import Chart, Panel, Series
from ssmbench.figures.drawing import draw
from ssmbench.figures.style import PALETTE

_SHOWN = 4


def worst_input_figure(u: np.ndarray, y: np.ndarray, title: str = "") -> Figure:
    """:func:`worst_input_chart` as a figure."""
    return draw(worst_input_chart(u, y, title))


def worst_input_chart(u: np.ndarray, y: np.ndarray, title: str = "") -> Chart:
    """Two panels over each other: the input u (L, m) and the output y (L, p) against the step.

    A disturbance, where that is what was attacked, and the change of the output that it causes. Of
    many channels those of the largest energy are drawn. An output of one step (a class) is drawn
    as a point for each of its entries.
    """
    gain = _gain(u, y)
    panels = (_panel("input", u), _panel("output", y))
    about = f"{title}\n" if title else ""
    return Chart(f"{about}gain {gain}" if gain else title, panels, columns=1)


def _gain(u: np.ndarray, y: np.ndarray) -> str:
    """The ratio of the norms, "" where it is none."""
    size, result = np.linalg.norm(u), np.linalg.norm(y)
    return f"{result / size:.4g}" if np.isfinite(result) and 0 < size < np.inf else ""


def _panel(name: str, values: np.ndarray) -> Panel:
    values = np.asarray(values, dtype=float)
    values = values[:, None] if values.ndim == 1 else values
    if not np.isfinite(values).all():
        return Panel(name, alerts=(f"the {name} is not finite",))
    if len(values) == 1:
        entries = np.arange(values.shape[1])
        series = (Series("", entries, values[0], PALETTE[0], joined=False),)
        return Panel(name, xlabel="entry", ylabel=name, series=series)
    order = np.argsort(-np.square(values).sum(0), kind="stable")[:_SHOWN]
    series = tuple(
        Series("", np.arange(len(values)), values[:, k], PALETTE[i], about=f"channel {k}")
        for i, k in enumerate(order)
    )
    count = values.shape[1]
    notes = (f"the {len(order)} channels of largest energy of {count}",)
    return Panel(
        name, xlabel="step", ylabel=name, series=series, notes=notes if count > _SHOWN else ()
    )
