"""The inputs of layers on the training data of a task, for reducers that regard them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ssmbench.errors import UsageError
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.recording import record_inputs
from ssmbench.reduction import RecordedInputs, Reducer
from ssmbench.tasks.base import Task


def recorded_inputs(
    model: SequenceModel, reducer: Reducer, name: str, task: Task | None
) -> dict[SSMLayer, RecordedInputs]:
    """The inputs that the reducer asks for: those of training sequences in a fixed random order;
    none if it asks for none.

    Raises:
        UsageError: it needs a task, and there is none; ``name`` is the reducer's.
    """
    if not reducer.recorded_steps:
        return {}
    return record_inputs(model, training_data(name, task), reducer.recorded_steps)


def training_data(name: str, task: Task | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Training sequences in a fixed random order, and their lengths.

    Raises:
        UsageError: there is no task; ``name`` is what needs it.
    """
    if task is None:
        raise UsageError(f"{name}: needs a task, for its training data")
    data, size = task.split("train"), task.batch_size
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0)).tolist()
    places = (order[first : first + size] for first in range(0, len(order), size))
    return ((batch.u, batch.lengths) for batch in map(data.batch, places))
