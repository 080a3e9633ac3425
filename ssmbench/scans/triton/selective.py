"""Sampled time-varying systems over their kernels: launches, and the differentiable operator."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.scans.selective import scanned
from ssmbench.scans.selective_operator import NUMBERS, TENSORS, define_selective
from ssmbench.scans.triton.blocks import SelectiveBlocks, selective_blocks
from ssmbench.scans.triton.launch import kernel_view
from ssmbench.systems import SampledModes, TimeVaryingDiagonal


def scan_selective(
    system: SampledModes | TimeVaryingDiagonal,
    u: Float[Tensor, "B L H 1"],
    x0: Float[Tensor, "B H N"] | None,
) -> tuple[Float[Tensor, "B L H 1"], Float[Tensor, "B H N"]]:
    """Outputs and final state, in float32, of a system that ``TritonScan.fuses``, or a discrete one
    of as few states whose heads share rows."""
    return scanned(_layer, system, u, x0)


def _kernels() -> Any:
    """The module that needs Triton, imported once something is to be run."""
    from ssmbench.scans.triton import selective_kernel

    return selective_kernel


def _run(*inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Of the tensors, the numbers of the form, and whether states are kept."""
    tensors, (rule, alpha, c, euler, after, keep) = inputs[:TENSORS], inputs[TENSORS:]
    y, final, saved = _outputs(*inputs)
    u, dt, lam, B, C, D, x0 = tensors
    start = torch.zeros_like(final) if x0 is None else x0
    blocks = selective_blocks(int(lam.shape[-1]))
    steps = u if dt is None else dt  # u: not read
    given = map(kernel_view, (u, steps, lam, B, C, D, start))
    with torch.cuda.device_of(u):
        _kernels().selective_forward_kernel[(_programs(u, B, blocks),)](
            *given,
            *(y, final, saved if keep else y),  # y: not touched
            *_sizes(u, B),
            *(int(after), int(D.ndim == 3), int(keep)),
            *(alpha, c),
            RULE=rule,
            EULER=euler,
            **blocks.constants(),
            **blocks.options(),
        )
    return y, final, saved


def _outputs(*inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """y, the final state, and the states before every STRIDE-th step; not filled."""
    u, _, lam, B, *_ = inputs
    blocks = selective_blocks(int(lam.shape[-1]))
    chunks = -(-u.shape[1] // blocks.stride)
    size = _programs(u, B, blocks) * chunks * blocks.block_n * blocks.block_p
    final = u.new_empty(u.shape[0], u.shape[2], lam.shape[-1])
    return u.new_empty(u.shape), final, u.new_empty(size if inputs[-1] else 0)


def _run_backward(*given: Any) -> tuple[Tensor, ...]:
    """Of the tensors and numbers, the saved states, and the gradients of y and the final state."""
    tensors, numbers = given[:TENSORS], given[TENSORS : TENSORS + NUMBERS]
    saved, dy, dfinal = given[-3:]
    if saved.numel() == 0:
        saved = _run(*tensors, *numbers, True)[2]
    rule, alpha, c, euler, after = numbers
    u, dt, lam, B, C, D, _ = tensors
    blocks = selective_blocks(int(lam.shape[-1]))
    shares = -(-(u.shape[2] // B.shape[2]) // blocks.block_p)
    du, dx0 = u.new_empty(u.shape), u.new_empty(dfinal.shape)
    ddt = u.new_empty(0 if dt is None else u.shape)
    dB, dC = (u.new_empty(shares, *B.shape) for _ in range(2))
    dlam = torch.empty_like(dB if dt is None else dx0)
    dD = u.new_empty(u.shape if D.ndim == 3 else (u.shape[0], u.shape[2]))
    programs = _programs(u, B, blocks)
    work = u.new_empty(programs * blocks.stride * blocks.block_n * blocks.block_p)
    steps = u if dt is None else dt  # u: not read
    inputs = map(kernel_view, (u, steps, lam, B, C, D, saved, dy, dfinal))
    with torch.cuda.device_of(u):
        _kernels().selective_backward_kernel[(programs,)](
            *inputs,
            *(du, ddt, dlam, dB, dC, dD, dx0, work),
            B.numel() // B.shape[3],
            *_sizes(u, B),
            *(int(after), int(D.ndim == 3)),
            *(alpha, c),
            RULE=rule,
            EULER=euler,
            **blocks.constants(),
            **blocks.options(),
        )
    dlam, dB, dC = (parts.sum(0) for parts in (dlam, dB, dC))  # of sequences, blocks of channels
    return du, ddt, dlam, dB, dC, dD if D.ndim == 3 else dD.sum(0), dx0


def _programs(u: Tensor, B: Tensor, blocks: SelectiveBlocks) -> int:
    groups = B.shape[2]
    return u.shape[0] * groups * -(-(u.shape[2] // groups) // blocks.block_p)


def _sizes(u: Tensor, B: Tensor) -> tuple[int, ...]:
    return u.shape[1], u.shape[2], B.shape[2], B.shape[3]


_layer = define_selective("triton_selective", _run, _outputs, _run_backward)
