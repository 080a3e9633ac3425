"""Dense A over its kernel: launches, and the differentiable operator."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.linalg.precision import to_double
from ssmbench.scans.chunked_dense import dense_scan, dense_toeplitz_scan, worth_toeplitz
from ssmbench.scans.dense_states import define_states, dense_states
from ssmbench.scans.triton.blocks import DenseBlocks, dense_blocks
from ssmbench.scans.triton.launch import kernel_view
from ssmbench.systems import DiscreteDense
from ssmbench.transforms import values_unknown


def scan_dense(
    system: DiscreteDense, u: Float[Tensor, "B L H m"], x0: Float[Tensor, "B H N"] | None
) -> tuple[Float[Tensor, "B L H p"], Float[Tensor, "B H N"]]:
    """Outputs and final state in float32; a bank of few channels writes no state of every step."""
    wide = u.to(torch.promote_types(u.dtype, torch.float32))
    if worth_toeplitz(system, u) and not values_unknown():
        return dense_toeplitz_scan(system, wide, x0)
    real = not u.is_complex()  # the kernel's states are
    return dense_scan(system, wide, x0, _states if real else dense_states)


def _run(A: Tensor, drive: Tensor, start: Tensor, reverse: bool) -> Tensor:
    """As ``dense_states``: A (M, N, N), drive (G, L, R, N), start (G, R, N), in float32."""
    groups, steps, signals, states = drive.shape
    out = drive.new_empty(groups, steps + 1, signals, states)
    if drive.numel() == 0:
        return out.copy_(start[:, None].expand_as(out))
    blocks = dense_blocks(states)
    padding = (0, blocks.block_n - states) * 2
    matrix = torch.nn.functional.pad(A.mT, padding)
    power = torch.linalg.matrix_power(to_double(A), blocks.chunk)
    limit = math.sqrt(torch.finfo(drive.dtype).max)
    fits = bool(power.abs().amax() < limit)  # else one chunk, step by step: no 0 * inf
    chunk = blocks.chunk if fits else steps + 1
    starts = start[:, None]
    if whole := steps // chunk:
        ends = drive.new_empty(groups, whole, signals, states)
        _launch(matrix, drive, ends, ends, chunk, whole, reverse, blocks, with_states=False)
        starts = dense_states(power, ends.double(), start.double()).to(drive.dtype)
    _launch(matrix, drive, starts, out, chunk, whole + 1, reverse, blocks, with_states=True)
    return out


def _launch(
    matrix: Tensor,
    drive: Tensor,
    starts: Tensor,
    out: Tensor,
    chunk: int,
    chunks: int,
    reverse: bool,
    blocks: DenseBlocks,
    *,
    with_states: bool,
) -> None:
    groups, steps, signals, states = drive.shape
    programs = groups * -(-chunks * signals // blocks.rows)
    pitch = 0 if len(matrix) == 1 else blocks.block_n**2
    with torch.cuda.device_of(drive):
        _kernels().dense_states_kernel[(programs,)](
            *map(kernel_view, (matrix, drive, starts)),
            out,
            *(steps, signals, states, chunk, chunks, -1 if reverse else 1, pitch),
            STATES=with_states,
            **blocks.constants(),
            **blocks.options(),
        )


def _kernels() -> Any:
    """The module that needs Triton, imported once something is to be run."""
    from ssmbench.scans.triton import dense_kernel

    return dense_kernel


_states = define_states("triton_dense_states", _run)
