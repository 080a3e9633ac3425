"""Parts that several layouts share: linear maps, norms and matrices, in the names of our network.

Each function takes arrays and gives them under the names that follow ``target``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from ssmbench.errors import require
from ssmbench.importers.weights import Weights

State = dict[str, Tensor]

#: Constants of flax that no array shows: of LayerNorm and of BatchNorm.
FLAX_LAYER_EPS, FLAX_BATCH_EPS = 1e-6, 1e-5


def prefixed(target: str, state: State) -> State:
    """The arrays under names that begin with ``target``."""
    return {f"{target}{name}": array for name, array in state.items()}


def torch_linear(weights: Weights, name: str, *shape: str | int) -> State:
    """A torch or Equinox linear map: weight (out, in) as ``shape``, and its bias."""
    return {
        "weight": weights.take(f"{name}.weight", *shape),
        "bias": weights.take(f"{name}.bias", shape[0]),
    }


def flax_dense(weights: Weights, name: str, inputs: str | int, outputs: str | int) -> State:
    """A flax Dense layer: kernel (in, out), and its bias."""
    return {
        "weight": weights.take(f"{name}.kernel", inputs, outputs).mT,
        "bias": weights.take(f"{name}.bias", outputs),
    }


def identity(size: int) -> State:
    """The linear map that changes nothing."""
    return {"weight": torch.eye(size, dtype=torch.float64), "bias": torch.zeros(size).double()}


def stacked(first: State, second: State) -> State:
    """Two linear maps of the same input, one above the other."""
    return {name: torch.cat([first[name], second[name]]) for name in first}


@dataclass(frozen=True)
class NormPart:
    """A norm: its component in a config, and its arrays."""

    component: dict[str, Any]
    state: State


def flax_norm(weights: Weights, statistics: Weights, name: str, width: str, kind: str) -> NormPart:
    """A flax LayerNorm, or for ``kind`` batch a BatchNorm, with the running statistics of it."""
    state = {
        "weight": weights.take(f"{name}.scale", width),
        "bias": weights.take(f"{name}.bias", width),
    }
    if kind == "layer":
        return NormPart({"name": "layer", "eps": FLAX_LAYER_EPS}, state)
    state["mean"] = statistics.take(f"{name}.mean", width)
    state["variance"] = statistics.take(f"{name}.var", width)
    return NormPart({"name": "batch", "eps": FLAX_BATCH_EPS}, state)


def one_component(weights: Weights, found: list[dict[str, Any]], what: str) -> dict[str, Any]:
    """The component that all blocks have.

    Raises:
        UsageError: they differ.
    """
    same = all(component == found[0] for component in found)
    require(same, f"{weights.source}: the blocks have different {what}; here all have the same")
    return found[0]


def as_pairs(values: Complex[Tensor, "*shape"]) -> Float[Tensor, "*shape 2"]:
    """Real and imaginary parts in a last dimension."""
    return torch.view_as_real(values.resolve_conj().contiguous())


def discrete_pairs(
    lam: Complex[Tensor, " M"],
    B: Complex[Tensor, "M d"],
    C: Complex[Tensor, "d M"],
    D: Float[Tensor, "d d"],
) -> State:
    """The parameters of ``discrete_matrices`` in the form ``pairs``: ``y = 2 Re(C x) + D u``."""
    return {
        "lam": as_pairs(lam)[None],
        "B": as_pairs(B)[None],
        "C": as_pairs(C)[None],
        "D": D[None],
    }


def discrete_pairs_component(modes: int) -> dict[str, Any]:
    """The component of :func:`discrete_pairs`."""
    return {"name": "discrete_matrices", "d_state": 2 * modes, "form": "pairs"}
