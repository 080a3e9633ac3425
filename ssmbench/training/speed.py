"""How long a network takes: for whole sequences, and for one step of a stream."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from jaxtyping import Shaped
from torch import Tensor

from ssmbench.nn.model import SequenceModel
from ssmbench.results.record import Record

#: Repetitions of which the median is taken, and steps of a stream.
_REPEATS, _STEPS = 7, 50


@dataclass(frozen=True)
class ModelCost(Record):
    """``sequence_seconds``: of the sequences of a batch at once, the median of several runs.
    ``step_seconds``: of one step of a single stream; None where the network cannot be streamed.
    ``parameters``; ``state_numbers``: real numbers carried from one step to the next."""

    sequence_seconds: float
    step_seconds: float | None
    parameters: int
    state_numbers: int


@torch.no_grad()
def sequence_seconds(frozen: SequenceModel, u: Shaped[Tensor, "B ..."]) -> float:
    """Of one evaluation of a frozen network on a batch."""
    return _median_seconds(lambda: frozen(u), _REPEATS)


@torch.no_grad()
def step_seconds(frozen: SequenceModel, u: Shaped[Tensor, "B ..."]) -> float:
    """Of one step of a frozen network in a stream, after its first steps."""
    axis = u.ndim - 1 if not u.is_floating_point() else u.ndim - 2
    step = u[:1].narrow(axis, 0, frozen.framing.samples)
    _, state = frozen.stream(step)
    return _median_seconds(lambda: frozen.stream(step, state), _STEPS)


def _median_seconds(function: Callable[[], object], repeats: int) -> float:
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return median(times)
