"""The scores of each task: every seed, mean and interval, and what others have published."""

from __future__ import annotations

from collections.abc import Sequence

from ssmbench.report.contents import Contents, TaskContents
from ssmbench.report.html.markup import Markup, Part, element
from ssmbench.report.html.numbers import score
from ssmbench.report.html.section import Section, note, section
from ssmbench.report.html.series import Series
from ssmbench.report.html.strip import Axis, Mark
from ssmbench.report.html.symbols import swatch
from ssmbench.report.html.table import Cell, Column, Line, figure, table
from ssmbench.report.published import PublishedRow
from ssmbench.report.statistics import Row, SeedScore

_INTRODUCTION = (
    "Scores on the test split, the best mean first. Each dot is one seed, the bar the 95% "
    "bootstrap interval of the mean, the upright line the mean. Learned: how many of the runs are "
    "clearly better than a predictor that learns nothing."
)


def leaderboard(contents: Contents, series: Series) -> Section | None:
    """A table for each task."""
    parts = [part for task in contents.tasks for part in _task(task, series)]
    return section("leaderboard", "Leaderboard", note(_INTRODUCTION), parts)


def _task(task: TaskContents, series: Series) -> list[Part]:
    if not task.rows:
        return []
    return [element("h3", task.name), note(" ".join(task.summary)), _table(task, series)]


def metric(row: Row) -> str:
    """The score's name with its unit: rmse [V]."""
    return row.metric + (f" [{row.unit}]" if row.unit else "")


def direction(row: Row) -> str:
    return "higher is better" if row.higher_is_better else "lower is better"


def measured(rows: Sequence[Row]) -> Row:
    """A row that knows the metric: one with a complete run, if there is one."""
    return next((row for row in rows if row.metric), rows[0])


def _table(task: TaskContents, series: Series) -> Markup:
    first, published = measured(task.rows), task.published
    axis = Axis.of(
        [
            *(seed.score for row in task.rows for seed in row.seeds),
            *(limit for row in task.rows for limit in (row.score_low, row.score_high)),
            *(one.score for one in published),
        ]
    )
    title = f"Test {metric(first)}, {direction(first)}" if first.metric else "No scores yet"
    best_first = first.higher_is_better
    columns = [
        Column("Variant"),
        Column(element("span", f"Test {metric(first)}", axis.header), "strip", sortable=False),
        Column("Mean", "number", best_first),
        Column("95% interval", "number", sortable=False),
        Column("Learned", "number", True, help="runs clearly better than one that learns nothing"),
        *([Column("Published", "number", best_first)] if published else []),
        Column("Each seed", "words", sortable=False),
    ]
    lines = [_line(row, axis, series, bool(published)) for row in task.rows]
    apart = [_published(one, axis) for one in published]
    return table(title, columns, lines, apart, of=task.name)


def _line(row: Row, axis: Axis, series: Series, published: bool) -> Line:
    cells = (
        Cell(_strip(row, axis)),
        figure(row.score_mean, score(row.score_mean)),
        Cell(_interval(row), kind="" if row.score_low is not None else "missing"),
        _learned(row),
        *([Cell("")] if published else []),
        Cell(element("span", *_seeds(row.seeds), class_="seeds")),
    )
    kind = "best" if row.rank == 1 else ""
    return Line(series.name(row), cells, (series.number(row.variant),), kind)


def _strip(row: Row, axis: Axis) -> Markup:
    marks = [
        Mark(seed.score, "seed", "mark-seed", f"seed {seed.seed}: {score(seed.score)}")
        for seed in row.seeds
        if seed.score is not None
    ]
    if row.score_mean is not None:
        mean = Mark(row.score_mean, "mean", "mark-mean", f"mean {score(row.score_mean)}")
        marks = [mean, *marks]
    if row.score_low is None or row.score_high is None:
        return axis.strip(marks)
    return axis.strip(marks, (row.score_low, row.score_high))


def _interval(row: Row) -> str:
    if row.score_low is None:
        return "none"
    return f"{score(row.score_low)} to {score(row.score_high)}"


def _seeds(seeds: Sequence[SeedScore]) -> list[Part]:
    """Every seed's score, or why it has none."""
    parts: list[Part] = []
    for place, seed in enumerate(seeds):
        title = f"seed {seed.seed}" + (f" of {seed.source}" if seed.source else "")
        text = seed.outcome if seed.score is None else score(seed.score)
        kind = "bad" if seed.score is None else None
        parts += [", " if place else None, element("span", text, title=title, class_=kind)]
    return parts


def _learned(row: Row) -> Cell:
    if row.learned_share is None:
        return figure(None)
    kind = "" if row.learned == row.over else "bad"
    return Cell(f"{row.learned} of {row.over}", row.learned_share, ordered=True, kind=kind)


def _published(one: PublishedRow, axis: Axis) -> Line:
    mark = Mark(one.score, "ring", "mark-published", f"published {score(one.score)}")
    name = element(
        "span",
        swatch("ring", "mark-published"),
        element("span", one.model, " ", element("small", "published")),
        class_="name",
    )
    cells = (
        Cell(axis.strip([mark])),
        *(Cell("") for _ in range(3)),
        figure(one.score, score(one.score)),
        Cell(one.source),
    )
    return Line(Cell(name), cells, kind="published")
