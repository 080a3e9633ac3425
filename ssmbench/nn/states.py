"""The states that a network goes through: the largest norm of each SSM layer's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ssmbench import registry
from ssmbench.lengths import valid_steps
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.scans.base import Scannable, scan_by_parts
from ssmbench.scans.delta import delta_states
from ssmbench.systems import DiscreteDiagonal, DiscreteLTI, TimeVaryingDelta, TimeVaryingDiagonal

#: Numbers of states that are computed at once.
_PART = 1 << 22


@torch.no_grad()
def largest_states(network: SequenceModel, *inputs: Tensor | None) -> Float[Tensor, " layers"]:
    """The largest l2 norm of the state of each of ``network.layers``, over the batch and all valid
    steps; the state is that of all heads before a step's input. NaN where a state is NaN.

    ``inputs``: those of :meth:`SequenceModel.forward`. States of conjugate pairs count twice, for
    both modes; norms of different layers are in different coordinates.
    """
    lengths: dict[nn.Module, Tensor | None] = {}
    norms: dict[nn.Module, Tensor] = {}

    def note_lengths(block: nn.Module, given: tuple[Any, ...]) -> None:
        lengths.update(dict.fromkeys(layers_of[block], given[1]))

    def note_norm(layer: nn.Module, given: tuple[Any, ...], output: Tensor) -> None:
        assert isinstance(layer, SSMLayer)
        dt, selection = (*given[1:], None, None)[:2]
        norms[layer] = _largest(layer, given[0], dt, selection, lengths[layer])

    layers_of: dict[nn.Module, list[SSMLayer]] = {block: block.layers for block in network.blocks}
    hooks = [block.register_forward_pre_hook(note_lengths) for block in network.blocks]
    hooks += [layer.register_forward_hook(note_norm) for layer in network.layers]
    try:
        network(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack([norms[layer] for layer in network.layers])


def _largest(
    layer: SSMLayer,
    u: Float[Tensor, "B L d"],
    dt: Float[Tensor, "B L"] | None,
    selection: Float[Tensor, "B L s"] | None,
    lengths: Int[Tensor, " B"] | None,
) -> Float[Tensor, ""]:
    """The largest norm of the layer's state, a part of the steps at a time."""
    system = layer.system_for(u, dt, selection)
    state = layer.start(u.shape[0], system, None)
    signal = u.to(torch.promote_types(u.dtype, system.signal_dtype))
    signal = signal.unflatten(-1, (system.heads, system.inputs))
    every = _norms(system, signal, state)
    if lengths is not None:
        every = every.masked_fill(~valid_steps(lengths, every.shape[1]), 0.0)
    return every.max().double()


def _norms(system: Scannable, signal: Tensor, state: Tensor | None) -> Float[Tensor, "B L"]:
    """The norm of the state before each step."""
    if isinstance(system, TimeVaryingDelta):
        return torch.linalg.vector_norm(delta_states(system, signal, state).flatten(2), dim=-1)
    system = reading_states(system)
    scan = registry.scans.get("auto").build()
    steps = max(1, _PART // (len(signal) * system.heads * system.outputs))
    norms = []
    for first in range(0, signal.shape[1], steps):
        part = slice(first, first + steps)
        varies = isinstance(system, TimeVaryingDiagonal)
        now = system.during(part) if varies else system
        y, state = scan_by_parts(scan, now, signal[:, part], state)
        norms.append(torch.linalg.vector_norm(y.flatten(2), dim=-1))
    return torch.cat(norms, 1)


def reading_states(
    system: DiscreteLTI | TimeVaryingDiagonal,
) -> DiscreteLTI | TimeVaryingDiagonal:
    """The system with the same states, whose outputs are the states: their real and imaginary
    parts, twice, where modes are conjugate pairs."""
    pairs = isinstance(system, DiscreteDiagonal | TimeVaryingDiagonal) and system.conjugate
    C = torch.eye(system.states, dtype=system.C.dtype, device=system.C.device)
    C = torch.cat([C, -1j * C]) if pairs else C
    D = system.D.new_zeros(system.heads, len(C), system.inputs)
    return replace(system, C=C.expand(*system.C.shape[:-2], *C.shape), D=D)
