"""Scores under disturbances, and where the test differs from the training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ssmbench.report.contents import Contents, TaskContents
from ssmbench.report.curves import FurtherRow, RobustnessRow
from ssmbench.report.html.chart import axis, chart, legend, plain
from ssmbench.report.html.markup import Markup, element
from ssmbench.report.html.numbers import tick, with_spread
from ssmbench.report.html.section import Section, charts, note, section
from ssmbench.report.html.sections.certified import certified
from ssmbench.report.html.sections.leaderboard import measured, metric
from ssmbench.report.html.series import Series
from ssmbench.report.html.table import Cell, Column, Line, figure, table

_ROBUSTNESS = (
    "Score on the first test sequences when every input sequence is disturbed by so much: the L2 "
    "norm of the disturbance relative to that of a typical input. Random: Gaussian directions. "
    "Adversarial: gradient ascent on the task's loss. Certified: the share of right predictions "
    "that no disturbance of this norm or a smaller one can change, by the proved gain of the "
    "network; dashed, what the nearest-neighbour classifier certifies of itself."
)
_FURTHER = (
    "Scores of the same weights where one quantity differs from the training: the length of the "
    "test sequences as a factor, or the share of their samples that is dropped. A score "
    "that is missing, or marked as diverged, had a prediction or a state that was not finite."
)


def robustness(contents: Contents, series: Series) -> Section | None:
    """A chart for each task and kind of disturbance, and the figures as tables."""
    parts = []
    for task in contents.tasks:
        kinds = list(dict.fromkeys(point.kind for point in task.robustness))
        groups = [[p for p in task.robustness if p.kind == kind] for kind in kinds]
        limits = _limits(task.robustness)
        label = "norm of the disturbance, relative to a typical input"
        parts.append(
            charts(
                _chart(
                    task,
                    _title(kind),
                    label,
                    group,
                    series,
                    limits,
                    _energy,
                    task.floor if kind == "certified" else (),
                )
                for kind, group in zip(kinds, groups, strict=True)
            )
        )
        parts += [
            _figures(f"{task.name}: score, {_title(kind)}", group, series, _energy)
            for kind, group in zip(kinds, groups, strict=True)
        ]
        parts += certified(task, series)
    return section("robustness", "Robustness", note(_ROBUSTNESS), parts)


def further(contents: Contents, series: Series) -> Section | None:
    """A chart and a table for each task and quantity."""
    parts = []
    for task in contents.tasks:
        quantities = list(dict.fromkeys(point.quantity for point in task.further))
        groups = [[p for p in task.further if p.quantity == name] for name in quantities]
        parts.append(
            charts(
                _chart(task, name, name, group, series, None, _value)
                for name, group in zip(quantities, groups, strict=True)
            )
        )
        parts += [
            _figures(f"{task.name}: score by {name}", group, series, _value)
            for name, group in zip(quantities, groups, strict=True)
        ]
    return section("further", "Longer and irregular tests", note(_FURTHER), parts)


def _title(kind: str) -> str:
    every = "certified under every disturbance"
    return every if kind == "certified" else f"{kind} disturbances"


_Point = RobustnessRow | FurtherRow
_At = Callable[[Any], float]


def _energy(point: RobustnessRow) -> float:
    return point.energy


def _value(point: FurtherRow) -> float:
    return point.value


def _limits(points: Sequence[_Point]) -> tuple[float, float] | None:
    """One range of scores for the charts of a task, so that they can be compared."""
    known = [point.score_mean for point in points if point.score_mean is not None]
    if not known:
        return None
    space = 0.05 * (max(known) - min(known)) or 0.05
    return min(known) - space, max(known) + space


def _by_series(points: Sequence[_Point]) -> dict[tuple[str, str], list[_Point]]:
    groups: dict[tuple[str, str], list[_Point]] = {}
    for point in points:
        groups.setdefault((point.variant, point.discretizer), []).append(point)
    return groups


def _chart(
    task: TaskContents,
    title: str,
    label: str,
    points: Sequence[_Point],
    series: Series,
    limits: tuple[float, float] | None,
    at: _At,
    floor: Sequence[RobustnessRow] = (),
) -> Markup:
    values = sorted({at(point) for point in points})
    places = {value: place for place, value in enumerate(values)}
    traces = [_trace(curve, places, series, at) for curve in _by_series(points).values()]
    traces += [_floor(floor, places)] if floor else []
    axes = {
        "xaxis": axis(label, tickvals=list(places.values()), ticktext=[tick(v) for v in values]),
        "yaxis": axis(
            f"test {metric(measured(task.rows))}", **({"range": limits} if limits else {})
        ),
    }
    names = ", ".join(series.label(curve[0]) for curve in _by_series(points).values())
    alternative = f"{task.name}: score by {label}, one line each for {names}; figures below."
    return chart(f"{task.name}: {title}", alternative, traces, axes, legend(series, points))


def _trace(
    curve: Sequence[_Point], places: dict[float, int], series: Series, at: _At
) -> dict[str, Any]:
    first = curve[0]
    colour, name = series.colour(first.variant), plain(series.label(first))
    texts = [f"{name}<br>at {tick(at(p))}: {_text(p)}" for p in curve]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [places[at(point)] for point in curve],
        "y": [point.score_mean for point in curve],
        "error_y": {
            "array": [point.score_spread or 0 for point in curve],
            "color": colour,
            "thickness": 1,
            "width": 2,
        },
        "text": texts,
        "hovertemplate": "%{text}<extra></extra>",
        "line": {"color": colour, "width": 2},
        "marker": {"color": colour, "symbol": series.symbol(first), "size": 8},
        "meta": series.number(first.variant),
    }


def _floor(floor: Sequence[RobustnessRow], places: dict[float, int]) -> dict[str, Any]:
    """The curve of nearest neighbours, of no variant."""
    shown = [point for point in floor if point.energy in places]
    name = plain(floor[0].variant)
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [places[point.energy] for point in shown],
        "y": [point.score_mean for point in shown],
        "text": [f"{name}<br>at {tick(p.energy)}: {_text(p)}" for p in shown],
        "hovertemplate": "%{text}<extra></extra>",
        "line": {"color": "muted", "width": 2, "dash": "dash"},
    }


def _text(point: _Point) -> str:
    lost = ""
    if isinstance(point, FurtherRow) and point.diverged:
        lost = f" ({point.diverged} of {point.runs} diverged)"
    if point.score_mean is None:
        return "none" + lost
    return with_spread(point.score_mean, point.score_spread) + lost


def _figures(caption: str, points: Sequence[_Point], series: Series, at: _At) -> Markup:
    """The table, folded away under the charts."""
    summary = element("summary", f"{caption} (table)")
    return element("details", summary, _table(caption, points, series, at), class_="figures")


def _table(caption: str, points: Sequence[_Point], series: Series, at: _At) -> Markup:
    values = sorted({at(point) for point in points})
    columns = [Column("Variant"), *(Column(tick(value), "number") for value in values)]
    lines = []
    for curve in _by_series(points).values():
        known = {at(point): point for point in curve}
        cells = tuple(
            figure(known[v].score_mean, _text(known[v])) if v in known else Cell("") for v in values
        )
        lines.append(Line(series.name(curve[0]), cells, (series.number(curve[0].variant),)))
    return table(caption, columns, lines)
