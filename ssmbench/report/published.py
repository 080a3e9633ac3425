"""Scores of publications in a suite's report, apart from those of its runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ssmbench.report.collect import RunRecord


@dataclass(frozen=True)
class PublishedRow:
    """A published score on the test data of one task of the suite."""

    task: str
    metric: str
    unit: str
    model: str
    score: float
    test_set: str
    selected_on: str
    source: str
    note: str


def published_rows(records: Iterable[RunRecord]) -> list[PublishedRow]:
    """The published scores of every task that has some, best first, as its first run names them."""
    first = {r.task: r.result.task for r in reversed(list(records)) if r.result}
    return [
        PublishedRow(
            task=name,
            metric=about.metric,
            unit=about.unit,
            **one.to_dict(),
        )
        for name, about in reversed(first.items())
        for one in sorted(about.published, key=lambda p: p.score, reverse=about.higher_is_better)
    ]
