"""The delta rule over its kernels: launches, and the differentiable operator."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.scans.delta import scanned
from ssmbench.scans.delta_operator import define_delta, saved_states
from ssmbench.scans.triton.blocks import DeltaBlocks, delta_blocks
from ssmbench.scans.triton.launch import kernel_view
from ssmbench.systems import TimeVaryingDelta


def scan_delta(
    system: TimeVaryingDelta, u: Float[Tensor, "B L H 1"], x0: Float[Tensor, "B H N"] | None
) -> tuple[Float[Tensor, "B L H 1"], Float[Tensor, "B H N"]]:
    """Outputs and final state in float32; u in any real dtype, with a gradient in its own."""
    return scanned(_layer, system, u, x0)


def _kernels() -> Any:
    """The module that needs Triton, imported once something is to be run."""
    from ssmbench.scans.triton import delta_kernel

    return delta_kernel


def _run(
    u: Tensor, key: Tensor, query: Tensor, decay: Tensor, gates: Tensor, x0: Tensor, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    y, final, saved = _outputs(u, key, query, decay, gates, x0, keep)
    if u.numel() == 0:
        return y, x0.clone(), saved
    blocks = _blocks(u, key)
    inputs = map(kernel_view, (u, key, query, decay, gates, x0))
    with torch.cuda.device_of(u):
        _kernels().delta_forward_kernel[(_programs(u, blocks),)](
            *inputs,
            y,
            final,
            saved if keep else y,  # y: not touched
            *_sizes(u, key, decay),
            KEEP=keep,
            **blocks.constants(),
            **blocks.options(),
        )
    return y, final, saved


def _outputs(
    u: Tensor, key: Tensor, query: Tensor, decay: Tensor, gates: Tensor, x0: Tensor, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """y, the final state, and the states before every STRIDE-th step; not filled."""
    blocks = _blocks(u, key)
    chunks = -(-u.shape[1] // blocks.stride)
    size = _programs(u, blocks) * chunks * blocks.block_n * blocks.block_p if keep else 0
    return u.new_empty(u.shape), x0.new_empty(x0.shape), u.new_empty(size)


def _run_backward(
    u: Tensor,
    key: Tensor,
    query: Tensor,
    decay: Tensor,
    gates: Tensor,
    x0: Tensor,
    saved: Tensor,
    dy: Tensor,
    dfinal: Tensor,
) -> tuple[Tensor, ...]:
    inputs = (u, key, query, decay, gates, x0)
    if u.numel() == 0:
        return *(torch.zeros_like(x) for x in inputs[:5]), dfinal.clone()
    saved = saved_states(_run, inputs, saved)
    blocks = _blocks(u, key)
    shares = -(-u.shape[3] // blocks.block_p)
    sums = [t.new_empty(shares, *t.shape) for t in (key, query, key, gates)]
    du, dx0 = u.new_empty(u.shape), x0.new_empty(x0.shape)
    programs = _programs(u, blocks)
    work = u.new_empty(programs * blocks.stride * blocks.block_n * blocks.block_p)
    given = map(kernel_view, (*inputs[:5], saved, dy, dfinal))
    with torch.cuda.device_of(u):
        _kernels().delta_backward_kernel[(programs,)](
            *given,
            *(du, *sums, dx0, work),
            *_sizes(u, key, decay),
            **blocks.constants(),
            **blocks.options(),
        )
    dkey, dquery, ddecay, dgates = (t.sum(0) for t in sums)
    one = decay.shape[3] == 1
    return du, dkey, dquery, ddecay.sum(-1, keepdim=True) if one else ddecay, dgates, dx0


def _blocks(u: Tensor, key: Tensor) -> DeltaBlocks:
    return delta_blocks(int(key.shape[3]))


def _programs(u: Tensor, blocks: DeltaBlocks) -> int:
    return u.shape[0] * u.shape[2] * -(-u.shape[3] // blocks.block_p)


def _sizes(u: Tensor, key: Tensor, decay: Tensor) -> tuple[int, ...]:
    batch, length, groups, width = u.shape
    return batch * length * groups, length, groups, key.shape[3], width, decay.shape[3]


_layer = define_delta("triton_delta", _run, _outputs, _run_backward)
