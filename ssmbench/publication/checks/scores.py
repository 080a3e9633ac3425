"""The test score of a published network, computed again where its data are."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch

from ssmbench.errors import UsageError, last_line
from ssmbench.publication.checks.network import Rebuilt
from ssmbench.publication.checks.verdict import Findings
from ssmbench.results import Result

#: How far a score may move between two computers, relatively. A score that counts may besides move
#: by two of what it counts: the largest of several logits may be another one after rounding.
TOLERANCE, COUNTED = 1e-3, 2


def check_score(run: Rebuilt, result: Result) -> Findings:
    """Compare the submitted test score with that of the weights; without the data, say so."""
    if result.scores is None or run.task is None:
        return Findings(not_checked=("scores",))
    try:
        found, counted = _test_score(run)
    except UsageError as error:
        return Findings(not_checked=(f"scores: {last_line(error)}",))
    said = result.scores.test
    allowed = TOLERANCE * abs(said) + (COUNTED / counted if run.task.classifies else 0.0)
    near = math.isfinite(found) and abs(found - said) <= allowed
    fault = f"test {run.task.score} is {said:.6g}, but that of the weights is {found:.6g}"
    rest = ("scores except that on the test set",)
    return Findings(rejected=() if near else (fault,), not_checked=rest, test=found)


@torch.no_grad()
def _test_score(run: Rebuilt) -> tuple[float, int]:
    """The score under the conditions of the run, and how many predictions it is of."""
    task, model = run.task, run.model
    assert task is not None, "asked where there is one"
    metrics, counted = task.metrics(), 0
    for batch in _batches(task.loader("test"), run.config.trainer.get("limit_test_batches", 1.0)):
        prediction, target = task.batch_metric(
            model(model.as_input(batch.u), batch.lengths, batch.dt), batch
        )
        metrics.update(prediction, target)
        counted += len(target)
    return float(metrics.compute()[task.score]), max(1, counted)


def _batches(loader: Any, limit: Any) -> Any:
    """As Lightning reads the limit: a number of batches, or a share of them."""
    count = limit if isinstance(limit, int) else int(len(loader) * limit)
    return itertools.islice(loader, count)
