"""Charts as matplotlib figures, without pyplot."""

from __future__ import annotations

import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from ssmbench.figures.chart import Bound, Chart, Panel, Series
from ssmbench.figures.style import TEXT, UNSTABLE, label_plainly

_WIDTH, _HEIGHT = 3.7, 3.0  # inches of a panel
_CHARACTERS = 14  # of a line above a panel, an inch
_LINE = 10.0  # points of a line above a panel
_LEAST_RATIO = 10.0  # of the limits of a logarithmic axis: what is nearly constant looks so


def draw(chart: Chart) -> Figure:
    """The chart as a figure."""
    rows, columns = chart.grid
    width = max(4.8, _WIDTH * columns)
    figure = Figure(figsize=(width, _HEIGHT * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for axis, panel in zip(axes, chart.panels, strict=False):
        _draw_panel(axis, panel, int(_CHARACTERS * width / columns))
    for axis in list(figure.axes)[len(chart.panels) :]:
        axis.set_axis_off()
    _write_title(figure, chart, int(_CHARACTERS * width))
    _legend(figure, chart, width)
    return figure


def _write_title(figure: Figure, chart: Chart, characters: int) -> None:
    notes = [line for note in chart.notes for line in textwrap.wrap(note, characters)]
    if chart.title:
        title = chart.title + "\n" * len(notes)  # room for the notes, which are smaller
        figure.suptitle(title, fontsize=11, fontweight="bold", color=TEXT)
    if notes:
        height = figure.get_figheight() * 72
        place = {"ha": "center", "va": "top", "fontsize": 8, "color": TEXT}
        figure.text(0.5, 1 - 22 / height, "\n".join(notes), linespacing=1.5, **place)


def _legend(figure: Figure, chart: Chart, width: float) -> None:
    first = {s.label: s for panel in reversed(chart.panels) for s in reversed(panel.series)}
    keys = [_key(first[label]) for label in chart.labels]
    if not keys or (len(keys) == 1 and not any(panel.bounds for panel in chart.panels)):
        return
    longest = max(len(label) for label in chart.labels)
    columns = max(1, min(len(keys), int(width * 13 / (longest + 6))))
    place = {"loc": "outside lower center", "frameon": False, "fontsize": 8}
    figure.legend(handles=keys, ncols=columns, **place)


def _key(series: Series) -> Line2D:
    marker = {"marker": "x" if series.unstable else "o", "ms": 5}
    look = {"lw": 2, "ls": series.style} if series.joined else {"ls": "", **marker}
    return Line2D([], [], color=series.colour, label=series.label, **look)


def _draw_panel(axis: Axes, panel: Panel, characters: int) -> None:
    _write_titles(axis, panel, characters)
    if panel.is_empty:
        axis.set_axis_off()
        return
    axis.set_xlabel(panel.xlabel, fontsize=8)
    axis.set_ylabel(panel.ylabel, fontsize=8)
    axis.tick_params(labelsize=7.5)
    axis.grid(alpha=0.25, lw=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    if panel.unit_circle:
        axis.add_patch(Circle((0, 0), 1, fill=False, lw=1, color=TEXT))
        axis.set_aspect("equal")
    for series in panel.series:
        _draw_series(axis, series)
    _scale(axis, panel)
    _draw_bounds(axis, panel.bounds, panel.ylog)


def _write_titles(axis: Axes, panel: Panel, characters: int) -> None:
    """The title, and below it what must be said; all in the middle if there is nothing to draw."""
    alerts, notes = (
        "\n".join(textwrap.fill(text, characters) for text in texts)
        for texts in (panel.alerts, panel.notes)
    )
    if panel.is_empty:
        axis.set_title(panel.title, fontsize=9.5, color=TEXT)
        what = "\n".join(text for text in (alerts, notes) if text) or "nothing to draw"
        middle = {"ha": "center", "va": "center", "transform": axis.transAxes}
        colour = UNSTABLE if alerts else TEXT
        axis.text(0.5, 0.5, what, fontsize=9, color=colour, **middle)
        return
    height = 0.0
    for text, colour in ((notes, TEXT), (alerts, UNSTABLE)):
        place = {"ha": "center", "va": "bottom", "xycoords": "axes fraction"}
        shift = {"xytext": (0, 4 + height), "textcoords": "offset points"}
        if text:
            axis.annotate(text, (0.5, 1.0), fontsize=7.5, color=colour, **place, **shift)
            height += _LINE * (text.count("\n") + 1)
    axis.set_title(panel.title, fontsize=9.5, color=TEXT, pad=6 + height)


def _draw_series(axis: Axes, series: Series) -> None:
    look = {"color": series.colour, "alpha": series.strength}
    if series.band is not None:
        axis.fill_between(series.x, *series.band, color=series.colour, alpha=0.15, lw=0)
    if series.joined:
        marks = {"marker": "o", "ms": 3} if series.marks or len(series.x) == 1 else {}
        axis.plot(series.x, series.y, lw=1.5, ls=series.style, label=series.label, **look, **marks)
    elif series.unstable:
        axis.scatter(series.x, series.y, s=28, marker="x", lw=1.3, zorder=4, **look)
    else:
        axis.scatter(series.x, series.y, s=11, lw=0, zorder=3, **look)


def _scale(axis: Axes, panel: Panel) -> None:
    if panel.xlog:
        axis.set_xscale("log")
    if panel.ylog:
        axis.set_yscale("log")
    if panel.xlim:
        axis.set_xlim(*panel.xlim)
    low, high = panel.ylim or axis.get_ylim()
    for bound in panel.bounds:  # all of them can be seen, with room for the label
        low, high = _with_bound(low, high, bound.value, panel.ylog)
    low = min(low, high / _LEAST_RATIO) if panel.ylog else low
    axis.set_ylim(low, high)
    if panel.xlog:
        label_plainly(axis.xaxis)
    if panel.ylog:
        label_plainly(axis.yaxis)
    else:  # numbers in full, not as differences from one that stands where the title is
        axis.ticklabel_format(axis="y", useOffset=False)


def _with_bound(low: float, high: float, value: float, log: bool) -> tuple[float, float]:
    if log:
        room = (high / low) ** 0.1
        return min(low, value / room), max(high, value * room)
    room = 0.1 * (high - low)
    return min(low, value - room), max(high, value + room)


def _draw_bounds(axis: Axes, bounds: tuple[Bound, ...], log: bool) -> None:
    for bound in bounds:
        axis.axhline(bound.value, color=bound.colour, ls="--", lw=1.3)
        place = {"ha": "left", "va": "bottom", "transform": axis.get_yaxis_transform()}
        axis.text(0.02, bound.value, bound.label, fontsize=7.5, color=bound.colour, **place)
