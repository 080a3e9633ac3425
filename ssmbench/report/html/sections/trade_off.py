"""Scores against gains, with the variants that no other surpasses in both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ssmbench.report.contents import Contents, TaskContents
from ssmbench.report.html.chart import axis, chart, legend, plain, ticks
from ssmbench.report.html.markup import Markup
from ssmbench.report.html.numbers import number, score
from ssmbench.report.html.section import Section, charts, note, section
from ssmbench.report.html.sections.leaderboard import direction, measured, metric
from ssmbench.report.html.series import Series
from ssmbench.report.trade_off import TradeOffPoint

_INTRODUCTION = (
    "Each mark is a variant: its mean score against its gain. The line joins the Pareto front: no "
    "other variant has at least this score with at most this gain. Marks in the shaded band at the "
    "right have no finite gain."
)


def trade_off(contents: Contents, series: Series) -> Section | None:
    """For each task a chart of the layers' gains and one of the network's bound."""
    shown = [
        _chart(task, points, title, label, series)
        for task in contents.tasks
        for points, title, label in (
            (task.network, "score against the bound of the network", "bound of the network's gain"),
            (task.verified, "score against the gain of a layer", "verified gain of an SSM layer"),
        )
        if len(points) > 1
    ]
    return section("trade-off", "Score against gain", note(_INTRODUCTION), [charts(shown)])


def _chart(
    task: TaskContents, points: Sequence[TradeOffPoint], title: str, label: str, series: Series
) -> Markup:
    band, row = _Band(points), measured(task.rows)
    traces = [_front(points, band), *(_mark(point, band, series) for point in points)]
    axes = {
        "xaxis": axis(label, type="log", range=band.range, **ticks(band.ends)),
        "yaxis": axis(f"test {metric(row)} ({direction(row)})"),
        "shapes": band.shapes,
        "annotations": band.annotations,
    }
    best = [series.label(point) for point in points if point.on_front]
    alternative = f"{task.name}: {title}. On the Pareto front: {', '.join(best)}."
    heading = f"{task.name}: {title}"
    return chart(heading, alternative, traces, axes, legend(series, points), height=340)


def _front(points: Sequence[TradeOffPoint], band: _Band) -> dict[str, Any]:
    front = [point for point in points if point.on_front]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [band.place(point.gain) for point in front],
        "y": [point.score for point in front],
        "line": {"color": "muted", "width": 1.5, "dash": "dot"},
        "hoverinfo": "skip",
    }


def _mark(point: TradeOffPoint, band: _Band, series: Series) -> dict[str, Any]:
    text = f"{series.label(point)}<br>score {score(point.score)}<br>gain {number(point.gain)}"
    words = (
        plain(series.label(point)),
        f"score {score(point.score)}",
        f"gain {number(point.gain)}",
    )
    text = "<br>".join(words) + ("<br>on the Pareto front" if point.on_front else "")
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [band.place(point.gain)],
        "y": [point.score],
        "text": [text],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {
            "size": 12 if point.on_front else 10,
            "symbol": series.symbol(point),
            "color": series.colour(point.variant),
            "opacity": 1 if point.on_front else 0.75,
            "line": {"color": "text" if point.on_front else "none", "width": 1.5},
        },
        "meta": series.number(point.variant),
    }


class _Band:
    """The place of infinite gains at the right of a logarithmic axis."""

    def __init__(self, points: Sequence[TradeOffPoint]) -> None:
        finite = [point.gain for point in points if 0 < point.gain < math.inf] or [1.0]
        self.infinite = any(math.isinf(point.gain) for point in points)
        low, high = math.log10(min(finite)), math.log10(max(finite))
        space = max(0.08 * (high - low), 0.08)
        self._low, self._high = low - space, high + space
        self._width = 0.16 * (self._high - self._low) if self.infinite else 0.0

    @property
    def ends(self) -> tuple[float, float]:
        """The finite part of the axis."""
        return 10**self._low, 10**self._high

    @property
    def range(self) -> list[float]:
        return [self._low, self._high + self._width]

    def place(self, gain: float) -> float:
        """Where a gain is drawn."""
        return 10 ** (self._high + self._width / 2) if math.isinf(gain) else gain

    @property
    def shapes(self) -> list[dict[str, Any]]:
        if not self.infinite:
            return []
        ends = {"x0": 10**self._high, "x1": 10 ** (self._high + self._width), "y0": 0, "y1": 1}
        look = {"fillcolor": "alarm", "opacity": 0.1, "line": {"width": 0}, "layer": "below"}
        return [{"type": "rect", "xref": "x", "yref": "paper", **ends, **look}]

    @property
    def annotations(self) -> list[dict[str, Any]]:
        if not self.infinite:
            return []
        place = {"x": self._high + self._width / 2, "y": 1, "xref": "x", "yref": "paper"}
        text = {"text": "inf", "showarrow": False, "yanchor": "top", "font": {"color": "alarm"}}
        return [{**place, **text}]
