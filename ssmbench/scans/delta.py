"""The delta rule by its definition, one step at a time, of differentiable operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.systems import TimeVaryingDelta

#: From u, key, query, decay, gates and x0 to y and the final state, as :func:`delta_layer`.
DeltaLayer = Callable[..., tuple[Tensor, Tensor]]


def delta_layer(
    u: Float[Tensor, "B L G P"],
    key: Float[Tensor, "B L G N"],
    query: Float[Tensor, "B L G N"],
    decay: Float[Tensor, "B L G n"],
    gates: Float[Tensor, "B L G 4"],
    x0: Float[Tensor, "B G N P"],
) -> tuple[Float[Tensor, "B L G P"], Float[Tensor, "B G N P"]]:
    """y and the final state; see :mod:`ssmbench.systems.delta`. ``gates``: g, w, e, r."""
    outputs, state = [], x0
    for y, after in _steps(u, key, query, decay, gates, x0):
        outputs.append(y)
        state = after
    return torch.stack(outputs, 1) if outputs else torch.zeros_like(u), state


def _steps(
    u: Tensor, key: Tensor, query: Tensor, decay: Tensor, gates: Tensor, x0: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """The output and the state after each step."""
    state = x0
    rows = (t.unbind(1) for t in (u, key, query, decay, gates))  # t[:, k]: backward of L^2
    for v, k, q, f, gate in zip(*rows, strict=True):
        g, w, e, r = gate[..., None].unbind(-2)  # (B, G, 1)
        held = f[..., None] * state
        seen = _read(k, held)
        half = held + k[..., None] * (w * v - g * seen)[..., None, :]
        found = _read(q, half)
        state = half - q[..., None] * (e * found)[..., None, :]
        yield r * found, state


def _read(key: Tensor, state: Tensor) -> Tensor:
    """k' X (B, G, P)."""
    return (key[..., None, :] @ state)[..., 0, :]


def delta_states(
    system: TimeVaryingDelta, u: Float[Tensor, "B L H 1"], x0: Float[Tensor, "B H N"] | None
) -> Float[Tensor, "B L H N"]:
    """The state before each step, step by step."""
    inputs = delta_inputs(system, u, x0)
    before = [inputs[-1], *(after for _, after in _steps(*inputs))][: u.shape[1]]
    return torch.stack([by_head(state) for state in before], 1)


def sequential_delta_scan(
    system: TimeVaryingDelta, u: Float[Tensor, "B L H 1"], x0: Float[Tensor, "B H N"] | None
) -> tuple[Float[Tensor, "B L H 1"], Float[Tensor, "B H N"]]:
    """Outputs and final state, in the widest dtype of the inputs."""
    return scanned(delta_layer, system, u, x0)


def scanned(
    layer: DeltaLayer,
    system: TimeVaryingDelta,
    u: Float[Tensor, "B L H 1"],
    x0: Float[Tensor, "B H N"] | None,
) -> tuple[Float[Tensor, "B L H 1"], Float[Tensor, "B H N"]]:
    """Outputs and final state of all heads, by a function of the groups."""
    y, final = layer(*delta_inputs(system, u, x0))
    return y.flatten(2)[..., None], by_head(final)


def delta_inputs(
    system: TimeVaryingDelta, u: Tensor, x0: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The inputs of :func:`delta_layer`, all of one dtype."""
    dtype = torch.promote_types(system.state_dtype, u.dtype)
    if x0 is None:
        start = u.new_zeros(len(u), system.groups, system.states, system.width, dtype=dtype)
    else:
        start = x0.unflatten(1, (system.groups, system.width)).mT
    rows = u[..., 0].unflatten(-1, (system.groups, system.width))
    key, query, decay = (t.to(dtype) for t in (system.key, system.query, system.decay))
    return rows.to(dtype), key, query, decay, system.gates().to(dtype), start.to(dtype)


def by_head(state: Float[Tensor, "B G N P"]) -> Float[Tensor, "B H N"]:
    """The states of all heads, from those of each group."""
    return state.mT.flatten(1, 2)
