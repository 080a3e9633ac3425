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
    """What was run, whether promises hold, the best of each task, and what warns a reader."""
    violations = sum(len(task.violations) for task in contents.tasks)
    promises = _promises(contents.rows, violations)
    return element(
        "div",
        sentences(contents.warnings, "alarm"),
        element("p", promises, class_="alarm") if violations else None,
        element(
            "p", " ".join([_what(contents), *([] if violations else [promises])]), class_="lead"
        ),
        sentences(_results(contents, series), "results"),
        _facts(contents, series),
    )


def _what(contents: Contents) -> str:
    rows, tasks = contents.rows, [task.name for task in contents.tasks]
    runs = sum(row.runs for row in rows)
    where = _listed(tasks) if len(tasks) <= _TASKS else count(len(tasks), "task")
    joined = f" from {_listed(contents.sources)}" if contents.sources else ""
    variants = count(len({row.variant for row in rows}), "variant")
    return f"{count(runs, 'run')} of {variants} on {where}{joined}: {_outcomes(rows)}."


def _outcomes(rows: Sequence[Row]) -> str:
    runs = sum(row.runs for row in rows)
    finished, diverged, failed = (
        sum(getattr(row, name) for row in rows) for name in ("finished", "diverged", "failed")
    )
    if runs == finished:
        return "all finished"
    counts = {
        "finished": finished,
        "diverged": diverged,
        "failed": failed,
        "not complete": runs - finished - diverged - failed,
    }
    return _listed([f"{number_of} {word}" for word, number_of in counts.items() if number_of])


def _results(contents: Contents, series: Series) -> list[str]:
    """The best of each task and what it can amplify, beside the one with the smallest bound; of
    many tasks the best over all."""
    overall = contents.over_tasks.overall if contents.over_tasks else ()
    if len(contents.tasks) > _TASKS and overall:
        best = max(overall, key=lambda one: one.iqm)
        return [
            f"Over all tasks {series.label(best)} has the highest interquartile mean of normalised "
            f"scores, {score(best.iqm)}."
        ]
    return [_best(task, series) for task in contents.tasks[:_TASKS]]


def _best(task: TaskContents, series: Series) -> str:
    best = next((row for row in task.rows if row.rank == 1), None)
    if best is None:
        return f"On {task.name} no run has a score."
    text = f"Best on {task.name}: {series.label(best)}, {_score(best)}"
    if best.network_bound is None:
        return f"{text}."
    text += f", network gain at most {number(best.network_bound)}"
    safest = _safest(task.rows)
    if safest is None or safest == best:
        return f"{text}, the smallest bound of all."
    bound = number(safest.network_bound)
    return f"{text}. Smallest bound: {series.label(safest)}, {bound}, at {_score(safest)}."


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
    if all(row.declared is None and row.network_declared is None for row in rows):
        return "No variant declares a gain, so none can break a promise."
    return "Every declared gain was checked and holds: declared ≥ verified ≥ attacked."


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
    items = (element("div", element("dt", name), element("dd", value)) for name, value in facts)
    return element("dl", *items, class_="facts")


def _listed(words: Sequence[str]) -> str:
    """As a sentence has them: a, b and c."""
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)
