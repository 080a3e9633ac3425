"""Impulse responses of layers: the kernels that they convolve their inputs with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from ssmbench.figures.chart import Chart, Panel, Series
from ssmbench.figures.drawing import draw
from ssmbench.figures.style import PALETTE

#: Channels that one panel shows: more cannot be told apart.
_SHOWN = 4


def impulse_figure(responses: Mapping[str, np.ndarray], title: str = "") -> Figure:
    """:func:`impulse_chart` as a figure."""
    return draw(impulse_chart(responses, title))


def impulse_chart(
    responses: Mapping[str, np.ndarray], title: str = "", columns: int | None = None
) -> Chart:
    """One panel per layer: impulse responses h_0 = D, h_1 = C B, ... against the step.

    Args:
        responses: (L,); (channels, L); or, as of
            :func:`~ssmbench.analysis.markov.markov_parameters`, (H, L, p, m), of which every entry
            of every head is a channel. Complex ones show their real part.
        columns: panels of one row.

    Of many channels those of the largest energy are drawn, and the panel says of how many.
    """
    panels = tuple(_panel(name, _channels(values)) for name, values in responses.items())
    return Chart(title, panels, columns)


def _channels(values: np.ndarray) -> dict[str, np.ndarray]:
    """Impulse responses (L,) by name."""
    values = np.real(values)
    if values.ndim == 1:
        return {"": values}
    if values.ndim == 2:
        return {f"channel {i}": row for i, row in enumerate(values)}
    heads, _, outputs, inputs = values.shape
    single = outputs * inputs == 1
    return {
        _name(h, i, j, heads, single): values[h, :, i, j]
        for h in range(heads)
        for i in range(outputs)
        for j in range(inputs)
    }


def _name(head: int, output: int, given: int, heads: int, single: bool) -> str:
    pair = f"input {given} to output {output}"
    if single:
        return f"channel {head}" if heads > 1 else ""
    return f"head {head}, {pair}" if heads > 1 else pair


def _panel(title: str, channels: Mapping[str, np.ndarray]) -> Panel:
    finite = {name: h for name, h in channels.items() if np.isfinite(h).all()}
    lost = len(channels) - len(finite)
    alerts = (f"{lost} of {len(channels)} responses are not finite",) if lost else ()
    largest = sorted(finite, key=lambda name: -float(np.square(finite[name]).sum()))[:_SHOWN]
    series = tuple(
        Series("", np.arange(len(finite[name])), finite[name], PALETTE[i], about=name)
        for i, name in enumerate(largest)
    )
    notes = (_said(len(largest), len(channels)),) if len(largest) < len(finite) else ()
    return Panel(
        title=title,
        xlabel="step",
        ylabel="impulse response",
        series=series,
        notes=notes,
        alerts=alerts,
    )


def _said(shown: int, count: int) -> str:
    return f"{shown} of {count} responses: those of the largest energy"
