"""The main result in a few sentences, and the figures of the whole report."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ssmbench.report.contents import Contents, TaskContents
from ssmbench.report.html.markup import Markup, Part, element
from ssmbench.report.html.numbers import count, number, score
from ssmbench.report.html.section import sentences
from ssmbench.report.html.series import Series
from ssmbench.report.statistics import Row

_TASKS = 3  # of which the headline names the best


def lead(contents: Contents, series: Series) -> Markup:
    """What was run, the main result, and what a reader must know before all else."""
    violations = sum(len(task.violations) for task in contents.tasks)
    return element(
        "div",
        sentences(contents.warnings, "alarm"),
        element("p", f"{_what(contents)} {_result(contents, series)}", class_="lead"),
        element("p", _promises(contents.rows, violations), class_="alarm" if violations else "lead"),
        _facts(contents, series),
    )


def _what(contents: Contents) -> str:
    rows, tasks = contents.rows, [task.name for task in contents.tasks]
    runs, finished = sum(row.runs for row in rows), sum(row.finished for row in rows)
    variants = len({row.variant for row in rows})
    where = _listed(tasks) if len(tasks) <= _TASKS else count(len(tasks), "task")
    other = [
        f"{number_of} {word}"
        for word, number_of in (
            ("diverged", sum(row.diverged for row in rows)),
            ("failed", sum(row.failed for row in rows)),
        )
        if number_of
    ]
    came = "all finished" if runs == finished else _listed([f"{finished} finished", *other])
    joined = f" from {_listed(contents.sources)}" if contents.sources else ""
    return f"{count(runs, 'run')} of {count(variants, 'variant')} on {where}{joined}: {came}."


def _result(contents: Contents, series: Series) -> str:
    """The best of each task and what it can amplify, beside the one with the smallest bound."""
    if len(contents.tasks) > _TASKS and contents.over_tasks and contents.over_tasks.overall:
        best = max(contents.over_tasks.overall, key=lambda one: one.iqm)
        return (
            f"Over all tasks {series.label(best)} has the highest interquartile mean of normalised "
            f"scores, {score(best.iqm)}."
        )
    found = [_best(task, series) for task in contents.tasks[:_TASKS]]
    return " ".join(text for text in found if text)


def _best(task: TaskContents, series: Series) -> str:
    best = next((row for row in task.rows if row.rank == 1), None)
    if best is None:
        return f"On {task.name} no run has a score."
    text = f"On {task.name} {series.label(best)} is best, {_score(best)}"
    if best.network_bound is None:
        return text + "."
    text += f", with a gain of the network bounded by {number(best.network_bound)}"
    safest = _safest(task.rows)
    if safest is None or safest == best:
        return text + "."
    bound = number(safest.network_bound)
    return f"{text}; {series.label(safest)} has the smallest bound, {bound}, at {_score(safest)}."


def _safest(rows: Sequence[Row]) -> Row | None:
    """The row with a score and the smallest finite bound of the network."""
    known = [
        (row.network_bound, place)
        for place, row in enumerate(rows)
        if row.score_mean is not None and row.network_bound is not None
    ]
    bound, place = min(known, default=(math.inf, 0))
    return rows[place] if math.isfinite(bound) else None


def _score(row: Row) -> str:
    unit = f" {row.unit}" if row.unit else ""
    return f"{row.metric} {score(row.score_mean)}{unit}"


def _promises(rows: Sequence[Row], violations: int) -> str:
    if violations:
        verb = "is a place" if violations == 1 else "are places"
        return (
            f"There {verb} where declared ≥ verified ≥ attacked does not hold ({violations}): "
            "a promise is broken, or a figure is wrong."
        )
    declared = sum(row.declared is not None for row in rows)
    if not declared:
        return "No variant declares a gain, so none can break a promise."
    return (
        f"Every gain that {count(declared, 'row')} of the tables declare was checked and holds: "
        "declared ≥ verified ≥ attacked."
    )


def _facts(contents: Contents, series: Series) -> Markup:
    rows = contents.rows
    facts: list[tuple[str, Part]] = [
        ("runs", f"{sum(row.runs for row in rows):,}"),
        ("tasks", len(contents.tasks)),
        ("variants", len(series.variants)),
        ("seeds", max((len(row.seeds) for row in rows), default=0)),
    ]
    over = sum(row.over for row in rows)
    if over:
        learned = sum(row.learned or 0 for row in rows)
        facts.append(("learned", f"{learned} of {over}"))
    items = (
        element("div", element("dt", name), element("dd", value)) for name, value in facts
    )
    return element("dl", *items, class_="facts")


def _listed(words: Sequence[str]) -> str:
    """As a sentence has them: a, b and c."""
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)
