"""Variants over all tasks: interquartile means, performance profiles, critical difference."""

from __future__ import annotations

from typing import Any

from ssmbench.report.contents import Contents
from ssmbench.report.html.chart import axis, chart, legend, plain
from ssmbench.report.html.markup import Markup, Part, element
from ssmbench.report.html.numbers import score
from ssmbench.report.html.section import Section, charts, note, section, sentences
from ssmbench.report.html.sections.ranks import ranks
from ssmbench.report.html.series import Series
from ssmbench.report.html.strip import Axis, Mark
from ssmbench.report.html.table import Cell, Column, Line, figure, table
from ssmbench.report.over_tasks import Overall, OverTasks

_INTRODUCTION = (
    "Scores are normalised: 0 is the trivial baseline of a task, 1 its reference. The "
    "interquartile mean leaves out the lowest and the highest quarter of the runs; its interval is "
    "a stratified bootstrap's."
)


def over_tasks(contents: Contents, series: Series) -> Section | None:
    """What can be said over tasks, and why something cannot."""
    about = contents.over_tasks
    if about is None:
        return None
    parts: list[Part] = []
    if about.overall:
        parts += [_means(about, series), charts([_profiles(about, series)])]
    if about.ranks:
        parts.append(ranks(about.ranks, series))
    if about.references:
        parts += [note("The reference of each task:"), sentences(about.references)]
    parts.append(sentences(about.why_not))
    return section("over-tasks", "Over all tasks", note(_INTRODUCTION), parts)


def _means(about: OverTasks, series: Series) -> Markup:
    axis = Axis.of(limit for one in about.overall for limit in (one.low, one.high))
    columns = [
        Column("Variant"),
        Column(element("span", "Normalised score", axis.header), "strip", sortable=False),
        Column("Interquartile mean", "number", True),
        Column("95% interval", "number", sortable=False),
        Column("Runs", "number", True),
    ]
    caption = f"Interquartile mean over {', '.join(about.tasks)}"
    return table(caption, columns, [_line(one, axis, series) for one in about.overall])


def _line(one: Overall, axis: Axis, series: Series) -> Line:
    mark = Mark(one.iqm, "circle", f"colour-{series.colour(one.variant)}", f"{score(one.iqm)}")
    cells = (
        Cell(axis.strip([mark], (one.low, one.high))),
        figure(one.iqm, score(one.iqm)),
        Cell(f"{score(one.low)} to {score(one.high)}"),
        figure(one.runs),
    )
    return Line(series.name(one), cells, (series.number(one.variant),))


def _profiles(about: OverTasks, series: Series) -> Markup:
    traces = [_profile(one, about.thresholds, series) for one in about.overall]
    axes = {
        "xaxis": axis("normalised score", range=[_start(about), about.thresholds[-1]]),
        "yaxis": axis("share of runs above it", range=[-0.02, 1.04], tickformat=".0%"),
    }
    title = "Performance profiles: which share of the runs is better than a score"
    return chart(title, title, traces, axes, legend(series, about.overall), height=360)


def _start(about: OverTasks) -> float:
    """The last score that every run of every variant is above, or the first threshold."""
    lowest = [min(shares) for shares in zip(*(o.profile for o in about.overall), strict=True)]
    above = [at for at, share in zip(about.thresholds, lowest, strict=True) if share == 1]
    return above[-1] if above else about.thresholds[0]


def _profile(one: Overall, thresholds: tuple[float, ...], series: Series) -> dict[str, Any]:
    every = max(1, len(thresholds) // 8)
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": list(thresholds),
        "y": list(one.profile),
        "text": [
            f"{plain(series.label(one))}<br>{share:.0%} of the runs above {at:.3g}"
            f"<br>interval {low:.0%} to {high:.0%}"
            for at, share, low, high in zip(
                thresholds, one.profile, one.profile_low, one.profile_high, strict=True
            )
        ],
        "hovertemplate": "%{text}<extra></extra>",
        "line": {"color": series.colour(one.variant), "width": 2},
        "marker": {
            "color": series.colour(one.variant),
            "symbol": series.symbol(one),
            "size": [8 if not place % every else 0 for place in range(len(thresholds))],
        },
        "meta": series.number(one.variant),
    }
