"""The reductions of all layers of a network, by what its task gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench import registry
from ssmbench.build.recorded import recorded_inputs, training_data
from ssmbench.errors import UsageError, require
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.recording import output_weights
from ssmbench.nn.reduced_layers import reducible_system
from ssmbench.reduction import Amount, Reduction
from ssmbench.reduction.base import Taken
from ssmbench.reduction.joint import joint_level
from ssmbench.tasks.base import Task

#: The norms of inputs that are allowed.
_NORMS = (1e-12, 1e12)
#: Steps of training data on which it is measured how much the prediction depends on each head.
_WEIGHED = 8192
#: In place of no dependence at all, by which nothing can be divided.
_TINY = 1e-100
#: By how much a level may be larger, so that the head of which it is does not miss it by rounding.
_ROUNDING = 1e-12

Found = TypeVar("Found")


@dataclass(frozen=True)
class ReductionRequest:
    """What to keep of each layer, by which reducer; ``norm``: the largest l2 norm of the inputs for
    which the change of the output is certified.

    Raises:
        UsageError: the norm is not between 1e-12 and 1e12.
    """

    amount: Amount
    reducer: str = "balanced_truncation"
    norm: float = 1.0

    def __post_init__(self) -> None:
        low, high = _NORMS
        allowed = f"norm: must be between {low:g} and {high:g}, got {self.norm}"
        require(low <= self.norm <= high, allowed)


@torch.no_grad()
def reduced_layers(
    model: SequenceModel, request: ReductionRequest, task: Task | None = None
) -> dict[SSMLayer, Reduction]:
    """The reduction of each layer's system; ``task``: for a reducer that regards the inputs of
    layers, which are recorded on its training data, and for a joint share.

    Raises:
        UsageError: see :func:`reduce_run`; or a task is needed, and none is given.
    """
    reducer = registry.reducers.get(request.reducer).build()
    systems = {layer: reducible_system(f"layer {i}", layer) for i, layer in enumerate(model.layers)}
    inputs = recorded_inputs(model, reducer, request.reducer, task)
    named = {
        layer: f"layer {i} ({type(layer.parametrization).__name__})"
        for i, layer in enumerate(systems)
    }
    taken = {
        layer: _about(name, reducer.take, systems[layer], inputs.get(layer))
        for layer, name in named.items()
    }
    levels = _levels(model, taken, request.amount, task)
    return {
        layer: _about(name, taken[layer].reduce, request.amount, levels.get(layer))
        for layer, name in named.items()
    }


def _levels(
    model: SequenceModel, taken: Mapping[SSMLayer, Taken], amount: Amount, task: Task | None
) -> dict[SSMLayer, Float[Tensor, " H"]]:
    """What each head may lose where a share of all states of the network is removed: the same of
    all, in units of the prediction."""
    if not amount.joint:
        return {}
    found = output_weights(model, training_data("joint", task), _WEIGHED)
    weights = {layer: weight.clamp_min(_TINY) for layer, weight in found.items()}
    losses = [
        amount.capped(one.prepared.losses * weights[layer][:, None]) for layer, one in taken.items()
    ]
    level = joint_level(losses, amount.share or 0.0)
    return {layer: level * (1 + _ROUNDING) / weights[layer] for layer in taken}


def _about(name: str, function: Callable[..., Found], *given: Any) -> Found:
    """The function's result; its errors name the layer."""
    try:
        return function(*given)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
