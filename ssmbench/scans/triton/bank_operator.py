"""The fused kernels of a bank as a differentiable operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from ssmbench.errors import UsageError
from ssmbench.scans.operators import define, differentiate, differentiate_backward, merge
from ssmbench.scans.triton.bank_launch import (
    count_chunks,
    in_quads,
    join_parts,
    outputs,
    states_of_chunks,
    to_rows,
)
from ssmbench.scans.triton.blocks import BankBlocks, bank_blocks
from ssmbench.scans.triton.launch import powers
from ssmbench.scans.triton.linear_scan import linear_scan

#: Dtypes of u that the kernels read, and of its gradient that they write.
KERNEL_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def bank_rows(
    u: Float[Tensor, "B L H"],
    start: Complex[Tensor, "B H N"] | None,
    lam_chunk: Complex[Tensor, "H N"],
    read_in: Float[Tensor, "H T 2 N"],
    toeplitz: Float[Tensor, "H T T"],
    read_out: Float[Tensor, "H 2 N T"],
    blocks: BankBlocks,
) -> tuple[Float[Tensor, "B L H"], Complex[Tensor, "B H N"]]:
    """y and the final state from u, the state after the first chunk's start, and the tables.

    The signal is padded with zeros in front, to whole chunks: then the end of the last chunk is
    the end of the signal. ``start`` is what x0 has become after the first, short chunk.
    """
    return _bank(u, start, lam_chunk, read_in, toeplitz, read_out, blocks.block_n)[:2]


# --- kernels ------------------------------------------------------------------------------------


def _run(
    u: Tensor,
    start: Tensor | None,
    lam_chunk: Tensor,
    read_in: Tensor,
    toeplitz: Tensor,
    read_out: Tensor,
    width: int,
) -> tuple[Tensor, Tensor, Tensor]:
    blocks = bank_blocks(width)
    signal, table = in_quads(u, blocks), powers(lam_chunk, blocks.rows)
    states, end, _ = states_of_chunks(signal, read_in, lam_chunk, table, start, 1, blocks)
    y = outputs(signal, states, toeplitz, read_out, blocks)
    return y[..., : u.shape[2]], end, states


def _run_backward(
    u: Tensor,
    start: Tensor | None,
    lam_chunk: Tensor,
    read_in: Tensor,
    toeplitz: Tensor,
    read_out: Tensor,
    states: Tensor,
    dy: Tensor,
    dend: Tensor,
    width: int,
    with_u: bool,
    with_tables: bool,
) -> tuple[Tensor, ...]:
    """Gradients, of u in its dtype, others in float32 and wider; empty where not asked for."""
    blocks = bank_blocks(width)
    signal, back = in_quads(dy, blocks), read_out.permute(0, 3, 1, 2)
    table = powers(lam_chunk.conj(), blocks.rows)
    adjoint_of = states if with_tables else None
    costates, _, dlam = states_of_chunks(
        signal, back, lam_chunk.conj(), table, dend, -1, blocks, adjoint_of
    )
    du, none = u.new_empty(0), states.new_empty(0)
    if with_u:
        forth = read_in.permute(0, 2, 3, 1)
        du = outputs(signal, costates, toeplitz.mT, forth, blocks, u.dtype)[..., : u.shape[2]]
    dstart = none if start is None else join_parts(costates[:, :, 0]).transpose(0, 1)
    if dlam is None:  # as it is without tables
        return du, dstart, none, none.clone(), none.clone(), none.clone()
    with torch.autocast(u.device.type, enabled=False):
        pair = to_rows(u, blocks), states, to_rows(dy, blocks), costates
        return du, dstart, dlam, *_table_gradients(*pair)


def _table_gradients(rows: Tensor, states: Tensor, dy: Tensor, costates: Tensor):
    """Of W, K and V: sums over all chunks, as products of matrices (cuBLAS)."""
    modes = states.shape[-1]
    chunks, out = rows.flatten(1, 2), dy.flatten(1, 2)
    before, after = states.flatten(1, 2).flatten(2), costates.flatten(1, 2).flatten(2)
    dread_in = torch.bmm(chunks.mT, after).unflatten(-1, (2, modes))
    dread_out = torch.bmm(before.mT, out).unflatten(1, (2, modes))
    return dread_in, torch.bmm(chunks.mT, out), dread_out


# --- the definition -----------------------------------------------------------------------------


def _definition(
    u: Tensor,
    start: Tensor | None,
    lam_chunk: Tensor,
    read_in: Tensor,
    toeplitz: Tensor,
    read_out: Tensor,
) -> tuple[Tensor, Tensor]:
    """What the kernels compute, of differentiable operations; see ``bank_kernel``."""
    length, size = u.shape[1], toeplitz.shape[1]
    rows = torch.nn.functional.pad(u.permute(2, 0, 1), (-length % size, 0))
    rows = rows.unflatten(-1, (-1, size))
    parts = torch.einsum("hbst,htzn->bshzn", rows, read_in)
    drive = torch.complex(parts[..., 0, :], parts[..., 1, :])  # (B, S, H, N)
    if start is not None:
        drive = torch.cat([drive[:, :1] + start[:, None], drive[:, 1:]], 1)
    after = linear_scan(lam_chunk.to(drive.dtype).flatten(), drive.flatten(2))
    after = after.unflatten(-1, lam_chunk.shape)
    states = torch.cat([torch.zeros_like(after[:, :1]), after[:, :-1]], 1)
    y = torch.einsum("hbst,htk->hbsk", rows, toeplitz)
    for part, table in ((states.real, read_out[:, 0]), (states.imag, read_out[:, 1])):
        y = y + torch.einsum("bshn,hnt->hbst", part, table)
    return y.flatten(2)[..., -length:].permute(1, 2, 0), after[:, -1]


def _adjoint(
    u: Tensor,
    start: Tensor | None,
    lam_chunk: Tensor,
    read_in: Tensor,
    toeplitz: Tensor,
    read_out: Tensor,
    states: Tensor,
    dy: Tensor,
    dend: Tensor,
    width: int,
    with_u: bool,
    with_tables: bool,
) -> tuple[Tensor, ...]:
    tables, none = (lam_chunk, read_in, toeplitz, read_out), states.new_empty(0)
    if start is None:
        pull = torch.func.vjp(lambda u, *t: _definition(u, None, *t), u.float(), *tables)[1]
        du, *dtables = pull((dy, dend))
        dstart = none
    else:
        du, dstart, *dtables = torch.func.vjp(_definition, u.float(), start, *tables)[1]((dy, dend))
    asked = (with_u, start is not None, *[with_tables] * 4)
    pairs = zip((du.to(u.dtype), dstart, *dtables), asked, strict=True)
    return tuple(gradient if wanted else none for gradient, wanted in pairs)


def no_jvp(kept: tuple, tangents: tuple) -> tuple[Tensor, ...]:
    """Refuses forward mode."""
    raise UsageError(
        "scan 'triton' has no derivatives in forward mode (jvp, jacfwd, torch.func.hessian) for a "
        "bank of single-channel systems: use reverse mode (vjp, jacrev), or scan 'chunked'"
    )


# --- the operators ------------------------------------------------------------------------------


def _shapes(
    u: Tensor,
    start: Tensor | None,
    lam_chunk: Tensor,
    read_in: Tensor,
    toeplitz: Tensor,
    read_out: Tensor,
    width: int,
) -> tuple[Tensor, Tensor, Tensor]:
    (batch, length, heads), blocks = u.shape, bank_blocks(width)
    shape = heads, batch, count_chunks(length, blocks), 2, blocks.block_n
    states = u.new_empty(shape, dtype=torch.float32)
    end = states.new_empty((heads, batch, blocks.block_n), dtype=torch.complex64).transpose(0, 1)
    return _like_signal(u, torch.float32, blocks), end, states


def _like_signal(u: Tensor, dtype: torch.dtype, blocks: BankBlocks) -> Tensor:
    """An output (B, L, H), which the kernels write with a multiple of four columns."""
    batch, length, heads = u.shape
    written = u.new_empty((batch, length, heads + -heads % blocks.heads), dtype=dtype)
    return written[..., :heads]


def _backward_shapes(u: Tensor, start: Tensor | None, *given: Any) -> tuple[Tensor, ...]:
    tables, (states, _, dend), (width, with_u, with_tables) = given[:4], given[4:7], given[7:]
    du = _like_signal(u, u.dtype, bank_blocks(width)) if with_u else u.new_empty(0)
    dstart = states.new_empty(0)
    if start is not None:
        dstart = dend.new_empty(dend.transpose(0, 1).shape).transpose(0, 1)
    dtables = (t.new_empty(t.shape) if with_tables else states.new_empty(0) for t in tables)
    return du, dstart, *dtables


def _backward(needs: Sequence[bool], saved: tuple, cotangents: tuple) -> tuple:
    *inputs, width = saved
    with_tables = any(needs[2:6])
    found = _bank_backward(*inputs, *cotangents, width, needs[0], with_tables)
    asked = needs[0], saved[1] is not None, *[with_tables] * 4
    return *(x if wanted else None for x, wanted in zip(found, asked, strict=True)), None


_TABLES = "Tensor lam_chunk, Tensor read_in, Tensor toeplitz, Tensor read_out"
_bank = define(
    f"triton_bank(Tensor u, Tensor? start, {_TABLES}, int width) -> (Tensor, Tensor, Tensor)",
    _run,
    _shapes,
)
_bank_backward = define(
    f"triton_bank_backward(Tensor u, Tensor? start, {_TABLES}, Tensor states, "
    "Tensor dy, Tensor dend, int width, bool with_u, bool with_tables)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _run_backward,
    _backward_shapes,
)
differentiate(_bank, _backward, no_jvp, lambda inputs, outs: (*inputs[:6], outs[2], inputs[6]), [2])
differentiate_backward(_bank_backward, _adjoint, no_jvp)


def _map(info: Any, mapped: tuple, *inputs: Any) -> tuple:
    """Sequences side by side, or heads where the systems differ."""
    if any(dim is not None for dim in mapped[2:6]):
        return merge(_bank, info, mapped, inputs, (2, 1, 0, 0, 0, 0, None), (2, 1, 0))
    return merge(_bank, info, mapped, inputs, (0, 0, *[None] * 5), (0, 0, 1))


torch.library.register_vmap(_bank, _map)


def _map_backward(info: Any, mapped: tuple, *inputs: Any) -> tuple:
    """Heads side by side: each element has gradients of its own."""
    axes = (2, 1, 0, 0, 0, 0, 0, 2, 1, None, None, None)
    with_u, with_tables = inputs[-2:]
    to = (2 if with_u else None, None if inputs[1] is None else 1)
    to = (*to, *[0 if with_tables else None] * 4)
    return merge(_bank_backward, info, mapped, inputs, axes, to)


torch.library.register_vmap(_bank_backward, _map_backward)
