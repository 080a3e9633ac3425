"""The systems of a network's SSM layers with fewer states."""

from __future__ import annotations

import torch

from ssmbench.errors import UsageError, require
from ssmbench.nn.layer import SSMLayer
from ssmbench.reduction import Amount, RecordedInputs, Reducer, Reduction
from ssmbench.systems import DiscreteLTI


@torch.no_grad()
def reducible_system(name: str, layer: SSMLayer) -> DiscreteLTI:
    """The system of a layer, which has one that can be reduced; ``name`` begins messages.

    Raises:
        UsageError: the layer is time-varying or complex, or starts from a learned state.
    """
    about = f"{name} ({type(layer.parametrization).__name__})"
    require(not layer.time_varying, f"{about} is time-varying: it cannot be reduced")
    require(layer.x0 is None, f"{about} starts from a learned state: it cannot be reduced")
    system = layer.system()
    require(system.is_real(), f"{about} has complex outputs: it cannot be reduced")
    return system


@torch.no_grad()
def reduced_layer(
    name: str,
    layer: SSMLayer,
    reducer: Reducer,
    amount: Amount,
    inputs: RecordedInputs | None = None,
) -> Reduction:
    """The reduction of a layer's system; ``inputs``: what the layer was given, for a reducer that
    regards them.

    Raises:
        UsageError: as :func:`reducible_system`; or the system is unstable or not finite.
    """
    system = reducible_system(name, layer)
    try:
        return reducer.reduce(system, amount, inputs)
    except UsageError as error:
        kind = type(layer.parametrization).__name__
        raise UsageError(f"{name} ({kind}): {error}") from None
