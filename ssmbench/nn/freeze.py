"""Frozen networks: copies with fixed systems for analysis, in their own precision or float64."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.nn.bounds import is_finite
from ssmbench.nn.encoded import SignalMap
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel

Map = TypeVar("Map", bound=SignalMap)


def freeze(model: SequenceModel, *, hold: bool = True) -> SequenceModel:
    """A copy in evaluation mode, without gradients, whose layers keep their present systems.

    Without ``hold`` the systems are computed in every call, as non-uniform sampling needs.
    """
    frozen = copy.deepcopy(model).eval().requires_grad_(False)
    for layer in filter(is_finite, frozen.layers):
        if hold and not layer.time_varying:  # its system depends on the input
            layer.hold()
    return frozen


def precision(model: SignalMap) -> torch.dtype:
    """The dtype of the network's signals."""
    return next(p.dtype for p in model.parameters() if p.is_floating_point())


def exact_map(frozen: Map, inputs: Float[Tensor, "n L m"]) -> Map | None:
    """The same map in float64, with the systems of ``frozen`` converted; None if a component cannot
    compute in float64."""
    exact = copy.deepcopy(frozen).double()
    for layer, original in zip(exact.layers, frozen.layers, strict=True):
        _hold_in_double(layer, original)
    return exact if _runs_in_double(exact, inputs) else None


def exact_layer(frozen: SSMLayer, inputs: Float[Tensor, "n L d"]) -> SSMLayer | None:
    """As :func:`exact_map`, for one layer."""
    exact = copy.deepcopy(frozen).double()
    _hold_in_double(exact, frozen)
    return exact if _runs_in_double(exact, inputs) else None


def _hold_in_double(layer: SSMLayer, original: SSMLayer) -> None:
    if not layer.time_varying:
        layer.hold(original.system().double())


def _runs_in_double(exact: Callable[[Tensor], Tensor], inputs: Float[Tensor, "n L m"]) -> bool:
    try:
        output = exact(torch.zeros_like(inputs[:1], dtype=torch.float64))
    except RuntimeError:  # a component of a plugin that computes in float32 only
        return False
    return output.dtype == torch.float64
