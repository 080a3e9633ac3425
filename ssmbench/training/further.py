"""What a result says of further test sets: scores, the size of states, and whether they diverge."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from ssmbench.nn.bounds import is_finite
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.states import largest_states
from ssmbench.results import FurtherTest
from ssmbench.tasks.base import Task
from ssmbench.tasks.sequences import Varied

#: The number of sequences of each test set whose states are looked at.
_SEQUENCES = 8


def further_tests(
    model: SequenceModel, task: Task, test: float, scores: Mapping[str, float | None]
) -> tuple[FurtherTest, ...]:
    """One value for each further test set, in evaluation mode; before them, for each quantity that
    is varied, one for the test set itself, unless a further one has the same value.

    ``test``, ``scores``: on the test set and on the further ones, None where a prediction was not
    finite. States are those of the first sequences of each set.
    """
    if not scores:
        return ()
    model.eval()
    usual = _largest(model, task, "test")
    found = [
        FurtherTest("test", test, False, point.quantity, point.value, (1.0,) * len(usual))
        for point in _usual_points(task)
    ]
    for name, score in scores.items():
        varied = task.varied().get(name)
        norms = [_ratio(a, b) for a, b in zip(_largest(model, task, name), usual, strict=True)]
        diverged = score is None or not all(map(math.isfinite, norms))
        about = (varied.quantity, varied.value) if varied else ("", None)
        found.append(FurtherTest(name, score, diverged, *about, tuple(norms)))
    return tuple(found)


def _usual_points(task: Task) -> list[Varied]:
    """The values that the quantities have on the test set, where they are known and no further test
    set has them."""
    given = list(task.varied().values())
    usual = {one.quantity: task.conditions.usual(one.quantity) for one in given}
    points = [Varied(name, value) for name, value in usual.items() if value is not None]
    return [point for point in points if point not in given]


def _largest(model: SequenceModel, task: Task, name: str) -> list[float]:
    """The largest norm of each layer's state; infinite where it is not finite."""
    if not is_finite(model):
        return [math.inf] * len(model.layers)
    with torch.device("cpu"):  # where data are loaded, whatever the default
        batch = task.sample(name, _SEQUENCES)
    like = next(p for p in model.parameters() if p.is_floating_point())
    batch = batch.to(like.device, like.dtype)
    norms = largest_states(model, batch.u, batch.lengths, batch.dt).tolist()
    return [norm if math.isfinite(norm) else math.inf for norm in norms]


def _ratio(norm: float, usual: float) -> float:
    return 1.0 if norm == usual else norm / usual if usual else math.inf
