"""Launching the fused kernels of a bank: signals as rows of chunks, states between them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssmbench.scans.triton.blocks import BankBlocks, bank_segment
from ssmbench.scans.triton.launch import kernel_view, scan_chunk_ends


def _kernels() -> Any:
    """The module that needs Triton, imported once something is to be run."""
    from ssmbench.scans.triton import bank_kernel

    return bank_kernel


# --- launches -----------------------------------------------------------------------------------


def states_of_chunks(
    rows: Tensor,
    read_in: Tensor,
    lam_chunk: Tensor,
    table: Tensor,
    start: Tensor | None,
    direction: int,
    blocks: BankBlocks,
    adjoint_of: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """States (H, B, S, 2, N) at the starts of chunks and the end (B, H, N); start is (B, H, N).

    Forward, start enters after the first chunk; backward, at the end of the last. Where the states
    of the forward pass are given, also the gradient of lam^T, summed in double precision.
    """
    heads, batch, chunks, _ = rows.shape
    segment = bank_segment(blocks, heads * batch, chunks)
    segments = -(-chunks // segment)
    starts = rows.new_zeros(heads, batch, segments, 2, blocks.block_n)
    if start is not None:
        starts[:, :, 0] = _split(start).transpose(0, 1)
    shared = (rows, read_in, table, direction, segment, blocks)
    if segments > 1:
        ends = _launch_states(*shared, starts, with_states=False)[1]
        begun = scan_chunk_ends(lam_chunk.flatten(), _by_time(ends), segment)
        starts[:, :, 1:] = _by_head(begun, heads)[:, :, 1:]
    states, ends, shares = _launch_states(*shared, starts, True, adjoint_of)
    dlam = None if shares is None else join_parts(shares.sum((1, 2), dtype=torch.float64))
    return states, join_parts(ends[:, :, -1]).transpose(0, 1), dlam


def _launch_states(
    rows: Tensor,
    read_in: Tensor,
    table: Tensor,
    direction: int,
    segment: int,
    blocks: BankBlocks,
    starts: Tensor,
    with_states: bool,
    adjoint_of: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    heads, batch, chunks, _ = rows.shape
    segments = starts.shape[2]
    ends = torch.empty_like(starts)
    states = ends
    if with_states:
        shape = (heads, batch, chunks, 2, blocks.block_n)
        states = torch.empty(shape, dtype=rows.dtype, device=rows.device)
    inject_row = 1 if direction > 0 else 0
    shares, adjoint = None, (ends, ends)  # ends: not touched
    if adjoint_of is not None:
        shares = torch.empty_like(starts)
        adjoint = (adjoint_of, shares)
    pointers = map(kernel_view, (rows, read_in, table, starts, states, ends, *adjoint))
    scalars = (heads, batch, chunks, segment, segments, direction, inject_row)
    with torch.cuda.device_of(rows):
        _kernels().bank_states_kernel[(heads * batch * segments,)](
            *pointers,
            *scalars,
            STATES=with_states,
            WITH_DA=adjoint_of is not None,
            **blocks.constants(blocks.states),
            **blocks.options(blocks.states),
        )
    return states, ends, shares


def outputs(
    rows: Tensor, states: Tensor, toeplitz: Tensor, read_out: Tensor, blocks: BankBlocks
) -> Tensor:
    """Y = U K + X V (H, B, S, T)."""
    heads, batch, chunks, _ = rows.shape
    y = torch.empty_like(rows)
    pointers = map(kernel_view, (rows, states, toeplitz, read_out, y))
    tiles = -(-batch * chunks // blocks.output_rows)
    with torch.cuda.device_of(rows):
        _kernels().bank_outputs_kernel[(heads * tiles,)](
            *pointers,
            batch * chunks,
            **blocks.constants(blocks.outputs),
            **blocks.options(blocks.outputs),
        )
    return y


# --- layouts ------------------------------------------------------------------------------------


def count_chunks(length: int, blocks: BankBlocks) -> int:
    return -(-length // blocks.block_t)


def to_rows(u: Tensor, blocks: BankBlocks) -> Tensor:
    """(B, L, H) to (H, B, S, T) in float32, zeros in front: one head, after which rows are wide."""
    batch, length, heads = u.shape
    chunks = count_chunks(length, blocks)
    padding = chunks * blocks.block_t - length
    shape = (heads, batch, chunks * blocks.block_t)
    rows = torch.empty(shape, dtype=torch.float32, device=u.device)
    rows[..., :padding] = 0
    rows[..., padding:] = u.permute(2, 0, 1)
    return rows.unflatten(-1, (chunks, blocks.block_t))


def from_rows(rows: Tensor, length: int) -> Tensor:
    """(H, B, S, T) to (B, L, H): a view, without the padding in front."""
    return rows.flatten(2)[..., -length:].permute(1, 2, 0)


def join_parts(parts: Tensor) -> Tensor:
    """(..., 2, N) to complex (..., N)."""
    return torch.complex(parts[..., 0, :], parts[..., 1, :])


def _split(values: Tensor) -> Tensor:
    """Complex (..., N) to (..., 2, N)."""
    return torch.stack([values.real, values.imag], -2)


def _by_time(parts: Tensor) -> Tensor:
    """(H, B, segments, 2, N) to complex (B, segments, H N), as a scan takes it."""
    return join_parts(parts).permute(1, 2, 0, 3).flatten(2)


def _by_head(values: Tensor, heads: int) -> Tensor:
    """The inverse of ``_by_time``."""
    return _split(values.unflatten(-1, (heads, -1)).permute(2, 0, 1, 3))
