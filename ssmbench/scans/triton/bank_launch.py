"""Launching the fused kernels of a bank: the states between chunks, and outputs from these."""

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
    u: Tensor,
    read_in: Tensor,
    lam_chunk: Tensor,
    table: Tensor,
    start: Tensor | None,
    direction: int,
    blocks: BankBlocks,
    adjoint_of: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """States (H, B, S, 2, N) at the starts of chunks and the end (B, H, N).

    u (B, L, W) is as of ``in_quads``; start is (B, H, N). Forward, start enters after the first
    chunk; backward, at the end of the last. Where the states of the forward pass are given, also
    the gradient of lam^T, summed in double precision.
    """
    batch, length, width = u.shape
    heads, chunks = lam_chunk.shape[0], count_chunks(length, blocks)
    segment = bank_segment(blocks, width // blocks.heads * batch, chunks)
    segments = -(-chunks // segment)
    starts = read_in.new_zeros(width, batch, segments, 2, blocks.block_n)
    if start is not None:
        starts[:heads, :, 0] = _split(start).transpose(0, 1)
    shared = (u, read_in, table, direction, segment, blocks)
    if segments > 1:
        ends = _launch_states(*shared, starts, with_states=False)[1][:heads]
        begun = scan_chunk_ends(lam_chunk.flatten(), _by_time(ends), segment)
        starts[:heads, :, 1:] = _by_head(begun, heads)[:, :, 1:]
    states, ends, shares = _launch_states(*shared, starts, True, adjoint_of)
    dlam = None
    if shares is not None:
        dlam = join_parts(shares[:heads].sum((1, 2), dtype=torch.float64))
    return states[:heads], join_parts(ends[:heads, :, -1]).transpose(0, 1), dlam


def _launch_states(
    u: Tensor,
    read_in: Tensor,
    table: Tensor,
    direction: int,
    segment: int,
    blocks: BankBlocks,
    starts: Tensor,
    with_states: bool,
    adjoint_of: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    width, batch, segments = starts.shape[:3]
    scalars = _sizes(u, read_in.shape[0], blocks)
    ends = torch.empty_like(starts)
    states = ends
    if with_states:
        shape = (width, batch, count_chunks(u.shape[1], blocks), 2, blocks.block_n)
        states = torch.empty(shape, dtype=starts.dtype, device=u.device)
    shares, adjoint = None, (ends, ends)  # ends: not touched
    if adjoint_of is not None:
        shares = torch.empty_like(starts)
        adjoint = (adjoint_of, shares)
    pointers = map(kernel_view, (u, read_in, table, starts, states, ends, *adjoint))
    late = 1 if direction > 0 else 0
    with torch.cuda.device_of(u):
        _kernels().bank_states_kernel[(width // blocks.heads * batch * segments,)](
            *pointers,
            *scalars,
            segment,
            segments,
            direction,
            late,
            STATES=with_states,
            WITH_DA=adjoint_of is not None,
            **blocks.constants(blocks.states),
            **blocks.options(blocks.states),
        )
    return states, ends, shares


def outputs(
    u: Tensor,
    states: Tensor,
    toeplitz: Tensor,
    read_out: Tensor,
    blocks: BankBlocks,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Y = U K + X V (B, L, W) in ``dtype``; the columns beyond H are of no meaning."""
    # Triton's interpreter truncates where a GPU rounds to the nearest bfloat16.
    truncates = dtype == torch.bfloat16 and not u.is_cuda
    y = torch.empty(u.shape, dtype=torch.float32 if truncates else dtype, device=u.device)
    pointers = map(kernel_view, (u, states, toeplitz, read_out))
    batch, length, width = u.shape
    tiles = -(-batch * count_chunks(length, blocks) // blocks.output_rows)
    with torch.cuda.device_of(u):
        _kernels().bank_outputs_kernel[(width // blocks.heads * tiles,)](
            *pointers,
            y,
            *_sizes(u, toeplitz.shape[0], blocks),
            **blocks.constants(blocks.outputs),
            **blocks.options(blocks.outputs),
        )
    return y.to(dtype)


def _sizes(u: Tensor, heads: int, blocks: BankBlocks) -> tuple[int, int, int, int, int]:
    """What both kernels are told of the signal: heads, quads, sequences, chunks, padding."""
    batch, length, width = u.shape
    chunks = count_chunks(length, blocks)
    return heads, width // blocks.heads, batch, chunks, chunks * blocks.block_t - length


# --- layouts ------------------------------------------------------------------------------------


def count_chunks(length: int, blocks: BankBlocks) -> int:
    return -(-length // blocks.block_t)


def in_quads(u: Tensor, blocks: BankBlocks) -> Tensor:
    """u (B, L, H) itself where the kernels' tiles divide H, otherwise with columns of zeros."""
    missing = -u.shape[2] % blocks.heads
    return torch.nn.functional.pad(u, (0, missing)) if missing else u


def to_rows(u: Tensor, blocks: BankBlocks) -> Tensor:
    """(B, L, H) to (H, B, S, T) in float32, zeros in front: a copy, for products over chunks."""
    batch, length, heads = u.shape
    chunks = count_chunks(length, blocks)
    padding = chunks * blocks.block_t - length
    shape = (heads, batch, chunks * blocks.block_t)
    rows = torch.empty(shape, dtype=torch.float32, device=u.device)
    rows[..., :padding] = 0
    rows[..., padding:] = u.permute(2, 0, 1)
    return rows.unflatten(-1, (chunks, blocks.block_t))


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
