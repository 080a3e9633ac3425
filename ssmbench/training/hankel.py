"""Hankel singular values of the layers in training: what is logged of them, and a penalty."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.analysis.hankel_sum import hankel_sum, hankel_values
from ssmbench.nn.bounds import is_finite
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel

#: States are counted as used up to the order of which the error bound, twice the sum of the values
#: beyond, is this share of the largest value.
USED = 0.01


def hankel_figures(layer: SSMLayer) -> dict[str, float]:
    """``hankel_sum``, the mean over the heads of the sum of their Hankel singular values, and
    ``states_used``, that of the orders that balanced truncation keeps at an error of 1% of the
    largest value (:data:`USED`). None of a layer that is time-varying, unstable or not finite."""
    if layer.time_varying or not is_finite(layer):
        return {}
    with torch.no_grad():
        system = layer.system().detach().to("cpu").double()
    if not system.states or not system.is_finite() or not system.is_stable():
        return {}
    values = hankel_values(system)
    return {
        "hankel_sum": float(values.sum(-1).mean()),
        "states_used": float(states_used(values).mean()),
    }


def states_used(values: Float[Tensor, "H order"]) -> Float[Tensor, " H"]:
    """The least order of each head that is enough (:data:`USED`); ``values`` largest first."""
    beyond = values.flip(-1).cumsum(-1).flip(-1)
    return (2 * beyond > USED * values[:, :1]).sum(-1).double()


def hankel_penalty(model: SequenceModel) -> Float[Tensor, ""]:
    """The sum over all time-invariant layers of the mean over the heads of the sum of their Hankel
    singular values, float64, with gradients; unstable heads count as 0.

    Source: regularisation by the nuclear norm of the Hankel operator, as "Hankel Singular Value
        Regularization for Highly Compressible State Space Models" (NeurIPS 2025) has it for
        sequence models.
    """
    sums = [hankel_sum(layer.system()).mean() for layer in model.layers if not layer.time_varying]
    return torch.stack(sums).sum() if sums else torch.zeros((), dtype=torch.float64)
