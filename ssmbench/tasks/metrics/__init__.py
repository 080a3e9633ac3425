"""Metrics of our own, imported where a task makes its metrics: torchmetrics, from which they
derive, is slow to import."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torchmetrics import Metric


def fit_in_percent(outputs: int) -> Metric:
    """A new :class:`ssmbench.tasks.metrics.fit.Fit` of so many outputs."""
    from ssmbench.tasks.metrics.fit import Fit

    return Fit(outputs)
