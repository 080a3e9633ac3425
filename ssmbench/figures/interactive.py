"""Charts as pages with plotly: one self-contained file, which needs no network."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ssmbench.figures.chart import Bound, Chart, Panel, Series
from ssmbench.figures.style import TEXT

_DASHES = {"-": "solid", "-.": "dashdot", ":": "dot"}
#: Pixels: of a panel, of its title, of a line below that, of an axis' labels, below all panels.
_HEIGHT, _TITLE, _LINE, _AXIS, _BELOW = 260, 40, 17, 70, 120
_BUTTONS = 26
#: Red, and the colour of a bound of nobody's own, on a light and on a dark page.
_RED, _GREY = "#E5484D", "#8A8A8A"
_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif'
_LIGHT = {"font.color": "#222222", "paper_bgcolor": "#ffffff", "plot_bgcolor": "#ffffff"}
_DARK = {"font.color": "#e6e6e6", "paper_bgcolor": "#16191d", "plot_bgcolor": "#16191d"}
#: On a narrow screen panels are below each other; light or dark is what the browser asks for.
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 0; font-family: {font}; background: #ffffff; color: #222222; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #16191d; color: #e6e6e6; }} }}
h1, p {{ margin: 0.5rem 1rem; text-align: center; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.2rem; margin-top: 1rem; }}
p {{ font-size: 0.85rem; }}
h2 {{ font-size: 1rem; margin: 1.5rem 1rem 0.4rem; }}
.note {{ text-align: left; opacity: 0.75; }}
.scroll {{ overflow-x: auto; margin: 0 1rem; }}
table {{ border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 0.25rem 0.8rem; text-align: right; border-bottom: 1px solid #8884; }}
td {{ white-space: nowrap; }}
tbody th {{ font-weight: normal; text-align: left; }}
@media (max-width: 700px) {{
th, td {{ padding: 0.25rem 0.4rem; }}
tbody th {{ overflow-wrap: anywhere; min-width: 7rem; }}
}}
.best {{ font-weight: bold; }}
.narrow {{ display: none; }}
@media (max-width: 700px) {{ .wide {{ display: none; }} .narrow {{ display: block; }} }}
</style></head>
<body>
<h1>{title}</h1>
{before}
{notes}
<div class="wide">{wide}</div>
<div class="narrow">{narrow}</div>
<script>
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const looks = {looks};
function paint() {{
  for (const plot of document.querySelectorAll(".plotly-graph-div")) {{
    Plotly.relayout(plot, looks[dark.matches ? 1 : 0]);
    Plotly.Plots.resize(plot);
  }}
}}
dark.addEventListener("change", paint);
window.addEventListener("resize", paint);
paint();
</script>
</body></html>
"""


def page(chart: Chart, title: str = "", before: str = "") -> str:
    """The chart as an HTML page: zoom, values under the pointer, runs switched on and off.

    ``title``: of the page, if not that of the chart; ``before``: HTML above the chart.
    """
    from ssmbench import jsonio

    return _PAGE.format(
        title=html.escape(title or chart.title),
        before=before,
        notes="\n".join(f"<p>{html.escape(note)}</p>" for note in chart.notes),
        font=_FONT,
        wide=_div(chart, None),
        narrow=_div(chart, 1),
        looks=jsonio.dumps([_look(colours, chart) for colours in (_LIGHT, _DARK)]),
    )


def _div(chart: Chart, columns: int | None) -> str:
    """The chart for a wide screen, with plotly's source, or for a narrow one; "" without panels."""
    if not chart.panels:
        return ""
    config = {"displaylogo": False, "responsive": True}
    figure = plotly_figure(chart, columns)
    name, source = ("wide", True) if columns is None else ("narrow", False)
    return figure.to_html(full_html=False, include_plotlyjs=source, config=config, div_id=name)


def _look(colours: dict[str, str], chart: Chart) -> dict[str, str]:
    grid = "#e4e4e4" if colours is _LIGHT else "#3a3f45"
    numbers = ["", *(str(i + 1) for i in range(1, len(chart.panels)))]
    axes = {f"{axis}axis{n}.{key}": grid for axis in "xy" for n in numbers for key in _LINES}
    return {**colours, **axes}


_LINES = ("gridcolor", "zerolinecolor", "linecolor")


def plotly_figure(chart: Chart, columns: int | None = None) -> go.Figure:
    """The chart as a plotly figure; ``columns``: panels of one row, if not the chart's."""
    rows, across = chart.grid if columns is None else (-(-len(chart.panels) // columns), columns)
    rows = max(1, rows)
    said = max((len(panel.alerts) + len(panel.notes) for panel in chart.panels), default=0)
    above = _TITLE + _LINE * said  # pixels
    between = above + _AXIS
    inner = rows * _HEIGHT + (rows - 1) * between
    figure = make_subplots(
        rows=rows,
        cols=across,
        subplot_titles=[_heading(panel) for panel in chart.panels],
        horizontal_spacing=0.25 / across / (across - 1) if across > 1 else None,
        vertical_spacing=between / inner if rows > 1 else None,
    )
    named: set[str] = set()
    for index, panel in enumerate(chart.panels):
        _add_panel(figure, panel, index // across + 1, index % across + 1, named)
    figure.update_layout(
        template="plotly_white",
        font={"family": _FONT, "size": 12},
        height=inner + above + _BUTTONS + _BELOW,
        margin={"l": 60, "r": 20, "t": above + _BUTTONS, "b": _BELOW},
        legend={"orientation": "h", "y": -_AXIS / inner, "yanchor": "top"},
        hovermode="closest",
    )
    return figure


def _heading(panel: Panel) -> str:
    said = [f'<span style="color:{_RED}">{html.escape(text)}</span>' for text in panel.alerts]
    said += [html.escape(text) for text in panel.notes]
    small = [f'<span style="font-size:11px">{text}</span>' for text in said]
    return "<br>".join([html.escape(panel.title), *small])


def _add_panel(figure: go.Figure, panel: Panel, row: int, column: int, named: set[str]) -> None:
    place: dict[str, Any] = {"row": row, "col": column}
    if panel.is_empty:
        figure.add_trace(go.Scatter(x=[], y=[], showlegend=False), **place)
        figure.update_xaxes(visible=False, **place).update_yaxes(visible=False, **place)
        return
    for series in panel.series:
        for trace in _traces(series, named):
            figure.add_trace(trace, **place)
        named.add(series.label)
    for bound in panel.bounds:
        figure.add_trace(_line(bound, panel), **place)
    if panel.unit_circle:
        circle = {"type": "circle", "x0": -1, "y0": -1, "x1": 1, "y1": 1}
        figure.add_shape(**circle, line={"color": "#888888", "width": 1.2}, **place)
    _scale(figure, panel, place)


def _traces(series: Series, named: set[str]) -> list[go.Scatter]:
    about = series.about or series.label
    first = bool(series.label) and series.label not in named
    group = {"legendgroup": series.label or None, "name": about}
    found = []
    if series.band is not None:
        x = np.concatenate([series.x, series.x[::-1]])
        y = np.concatenate([series.band[0], series.band[1][::-1]])
        area = {"fill": "toself", "line": {"width": 0}, "hoverinfo": "skip", "opacity": 0.2}
        found.append(
            go.Scatter(x=x, y=y, fillcolor=series.colour, showlegend=False, **area, **group)
        )
    mode = ("lines+markers" if series.marks else "lines") if series.joined else "markers"
    look: dict[str, Any] = {"color": series.colour, "size": 8 if series.unstable else 5}
    found.append(
        go.Scatter(
            x=series.x,
            y=series.y,
            mode=mode,
            opacity=series.strength,
            line={"color": series.colour, "width": 1.8, "dash": _DASHES.get(series.style, "solid")},
            marker=look | ({"symbol": "x"} if series.unstable else {}),
            showlegend=first,
            hovertemplate="%{x:.4g}, %{y:.5g}",
            **group,
        )
    )
    return found


def _line(bound: Bound, panel: Panel) -> go.Scatter:
    colour = _GREY if bound.colour == TEXT else bound.colour
    ends = panel.xlim or _extent([series.x for series in panel.series])
    return go.Scatter(
        x=ends,
        y=[bound.value] * 2,
        mode="lines+text",
        text=[bound.label, ""],
        textposition="top right",
        line={"color": colour, "width": 1.5, "dash": "dash"},
        showlegend=False,
        hoverinfo="name+y",
        name=bound.label,
    )


def _extent(values: list[np.ndarray]) -> tuple[float, float]:
    joined = np.concatenate(values)
    return float(joined.min()), float(joined.max())


def _scale(figure: go.Figure, panel: Panel, place: dict[str, Any]) -> None:
    common = {"ticks": "outside", "ticklen": 4, "showline": True, "exponentformat": "power"}
    for update, label, log, limits in (
        (figure.update_xaxes, panel.xlabel, panel.xlog, panel.xlim),
        (figure.update_yaxes, panel.ylabel, panel.ylog, panel.ylim),
    ):
        scale: dict[str, Any] = {"type": "log", "dtick": 1} if log else {"zeroline": False}
        if limits is not None:
            scale["range"] = list(np.log10(limits)) if log else list(limits)
        update(title={"text": label, "font": {"size": 11}}, **common, **scale, **place)
    if panel.unit_circle:
        figure.update_yaxes(scaleratio=1, scaleanchor=f"x{_number(figure, place)}", **place)


def _number(figure: go.Figure, place: dict[str, Any]) -> str:
    """The number of a panel's axes in plotly's names, "" for the first."""
    axis = next(figure.select_xaxes(**place))
    return axis.plotly_name.removeprefix("xaxis")
