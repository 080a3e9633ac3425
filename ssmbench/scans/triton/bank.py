"""A bank of single-channel diagonal systems as a differentiable function over the fused kernels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Inexact
from torch import Tensor
from torch.autograd.function import once_differentiable

from ssmbench.scans.base import state_dtype
from ssmbench.scans.triton import bank_kernel
from ssmbench.scans.triton.blocks import BankBlocks, bank_blocks, bank_segment
from ssmbench.scans.triton.linear_scan import kernel_view, powers, scan_chunk_ends
from ssmbench.systems import DiscreteDiagonal, DiscreteSystem


def suits(system: DiscreteSystem, u: Tensor) -> bool:
    """Whether this is a bank of single-channel diagonal systems with real inputs and outputs.

    And whether there is anything to scan.
    """
    if not isinstance(system, DiscreteDiagonal) or system.inputs != 1 or system.outputs != 1:
        return False
    if u.numel() == 0 or system.states == 0:
        return False
    complex_modes = any(t.is_complex() for t in (system.lam, system.B, system.C))
    real_output = system.conjugate or not complex_modes
    return real_output and not system.D.is_complex() and not u.is_complex()


def bank_scan(
    system: DiscreteDiagonal,
    u: Float[Tensor, "B L H 1"],
    x0: Inexact[Tensor, "B H N"] | None,
) -> tuple[Float[Tensor, "B L H 1"], Inexact[Tensor, "B H N"]]:
    """Outputs and final state as ``ScanBackend.__call__``, for a system that ``suits``.

    Float32 and complex64, u in any real dtype; the gradient of u is in its own. States are written
    at the borders of chunks only. A real system takes the complex kernels with imaginary parts of
    zero. More than 64 states a copy are taken in groups, whose outputs add up.
    """
    groups = range(0, system.states, bank_blocks(system.states).block_n)
    parts = [_scan_group(system, u[..., 0], x0, at) for at in groups]
    y = parts[0][0]
    for more, _ in parts[1:]:
        y = y + more
    return y[..., None], torch.cat([final for _, final in parts], -1)


def _scan_group(
    system: DiscreteDiagonal, u: Tensor, x0: Tensor | None, at: int
) -> tuple[Tensor, Tensor]:
    """y (B, L, H) and the final state of the group of states that begins with ``at``."""
    blocks = bank_blocks(system.states)
    group = slice(at, at + blocks.block_n)
    width = system.lam[:, group].shape[1]
    tables = _tables(system, group, blocks, with_direct=at == 0)
    in_first = u.shape[1] - (_chunks(u.shape[1], blocks) - 1) * blocks.block_t
    start, head = None, None
    if x0 is not None:
        wide = torch.nn.functional.pad(x0[..., group], (0, blocks.block_n - width))
        wide = wide.to(torch.complex64)  # (B, H, N)
        start = tables.power(in_first).to(wide.dtype) * wide
        parts = torch.view_as_real(wide)  # (B, H, N, 2)
        head = torch.einsum("hznt,bhnz->bth", tables.read_out[..., :in_first], parts)
    y, final = _Bank.apply(u, start, *tables.tensors(), blocks)
    if head is not None:
        y = y + torch.nn.functional.pad(head, (0, 0, 0, u.shape[1] - in_first))
    final = final[..., :width]
    return y, final if state_dtype(system, u).is_complex else final.real


# --- tables -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tables:
    """What the kernels multiply with; functions of the system, differentiable by autograd."""

    all_powers: Tensor  # (T + 1, H, N) in complex128
    read_in: Tensor  # (H, T, 2, N)
    toeplitz: Tensor  # (H, T, T), [input, output]
    read_out: Tensor  # (H, 2, N, T)

    def power(self, exponent: int) -> Tensor:
        """lam^exponent (H, N), complex128."""
        return self.all_powers[exponent]

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.all_powers[-1], self.read_in, self.toeplitz, self.read_out


def _tables(
    system: DiscreteDiagonal, group: slice, blocks: BankBlocks, with_direct: bool
) -> _Tables:
    """In double precision, rounded once: the error of lam^t would grow with t."""
    lam, B, C = (_pad(t, group, blocks) for t in (system.lam, system.B[..., 0], system.C[:, 0]))
    C = 2 * C if system.conjugate else C
    steps = _powers_table(lam, blocks.block_t)
    weights = torch.einsum("thn,hn->htn", steps[:-1].flip(0), B)
    read_in = torch.stack([weights.real, weights.imag], 2)
    readout = torch.einsum("thn,hn->hnt", steps[:-1], C)
    read_out = torch.stack([readout.real, -readout.imag], 1)
    markov = torch.einsum("thn,hn,hn->ht", steps[:-2], C, B).real
    direct = system.D[:, 0].double() if with_direct else torch.zeros_like(markov[:, :1])
    kernel = torch.cat([direct, markov], -1)
    return _Tables(steps, read_in.float(), _toeplitz(kernel).float(), read_out.float())


def _pad(values: Tensor, group: slice, blocks: BankBlocks) -> Tensor:
    """Columns of the group in complex128, zeros where it has fewer than the kernel."""
    values = values[:, group].to(torch.complex128)
    return torch.nn.functional.pad(values, (0, blocks.block_n - values.shape[1]))


def _powers_table(lam: Tensor, count: int) -> Tensor:
    """lam^0 .. lam^count (count + 1, H, N) by doubling; its gradient is exact at lam = 0 too."""
    table, square = torch.ones_like(lam)[None], lam
    while table.shape[0] <= count:
        table = torch.cat([table, table * square])
        square = square * square
    return table[: count + 1]


def _toeplitz(kernel: Tensor) -> Tensor:
    """(H, T, T) with kernel[h, i - j] at [h, j, i], zero where i < j."""
    length = kernel.shape[-1]
    return torch.nn.functional.pad(kernel, (length - 1, 0)).unfold(-1, length, 1).flip(-2)


# --- autograd -----------------------------------------------------------------------------------


class _Bank(torch.autograd.Function):
    """y and the final state from u, the state after the first chunk's start, and the tables.

    The signal is padded with zeros in front, to whole chunks: then the end of the last chunk is
    the end of the signal. ``start`` is what x0 has become after the first, short chunk.
    """

    @staticmethod
    def forward(ctx, u, start, lam_chunk, read_in, toeplitz, read_out, blocks):
        ctx.set_materialize_grads(False)
        rows = _to_rows(u, blocks)
        table = powers(lam_chunk, blocks.rows)
        states, end, _ = _states(rows, read_in, lam_chunk, table, start, 1, blocks)
        y = _outputs(rows, states, toeplitz, read_out, blocks)
        ctx.save_for_backward(rows, states, lam_chunk, read_in, toeplitz, read_out)
        ctx.blocks, ctx.dtype, ctx.length = blocks, u.dtype, u.shape[1]
        ctx.with_start = start is not None
        return _from_rows(y, u.shape[1]), end

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor | None, dend: Tensor | None):
        rows, states, lam_chunk, read_in, toeplitz, read_out = ctx.saved_tensors
        blocks = ctx.blocks
        dy_rows = torch.zeros_like(rows) if dy is None else _to_rows(dy, blocks)
        back = read_out.permute(0, 3, 1, 2)
        table = powers(lam_chunk.conj(), blocks.rows)
        frozen = not any(ctx.needs_input_grad[2:6])
        adjoint_of = None if frozen else states
        costates, _, dlam = _states(
            dy_rows, back, lam_chunk.conj(), table, dend, -1, blocks, adjoint_of
        )
        du = None
        if ctx.needs_input_grad[0]:
            forth = read_in.permute(0, 2, 3, 1)
            du = _outputs(dy_rows, costates, toeplitz.mT, forth, blocks)
            du = _from_rows(du, ctx.length).to(ctx.dtype)
        dstart = _complex(costates[:, :, 0]).transpose(0, 1) if ctx.with_start else None
        dtables = [None] * 3
        if not frozen:
            with torch.autocast(rows.device.type, enabled=False):
                dtables = _table_gradients(rows, states, dy_rows, costates)
        return du, dstart, dlam, *dtables, None


def _table_gradients(rows: Tensor, states: Tensor, dy: Tensor, costates: Tensor):
    """Of W, K and V: sums over all chunks, as products of matrices (cuBLAS)."""
    modes = states.shape[-1]
    chunks, out = rows.flatten(1, 2), dy.flatten(1, 2)
    before, after = states.flatten(1, 2).flatten(2), costates.flatten(1, 2).flatten(2)
    dread_in = torch.bmm(chunks.mT, after).unflatten(-1, (2, modes))
    dread_out = torch.bmm(before.mT, out).unflatten(1, (2, modes))
    return dread_in, torch.bmm(chunks.mT, out), dread_out


# --- launches -----------------------------------------------------------------------------------


def _states(
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
    copies, batch, chunks, _ = rows.shape
    segment = bank_segment(blocks, copies * batch, chunks)
    segments = -(-chunks // segment)
    starts = rows.new_zeros(copies, batch, segments, 2, blocks.block_n)
    if start is not None:
        starts[:, :, 0] = _split(start).transpose(0, 1)
    shared = (rows, read_in, table, direction, segment, blocks)
    if segments > 1:
        ends = _launch_states(*shared, starts, with_states=False)[1]
        begun = scan_chunk_ends(lam_chunk.flatten(), _by_time(ends), segment)
        starts[:, :, 1:] = _by_copy(begun, copies)[:, :, 1:]
    states, ends, shares = _launch_states(*shared, starts, True, adjoint_of)
    dlam = None if shares is None else _complex(shares.sum((1, 2), dtype=torch.float64))
    return states, _complex(ends[:, :, -1]).transpose(0, 1), dlam


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
    copies, batch, chunks, _ = rows.shape
    segments = starts.shape[2]
    ends = torch.empty_like(starts)
    states = ends
    if with_states:
        shape = (copies, batch, chunks, 2, blocks.block_n)
        states = torch.empty(shape, dtype=rows.dtype, device=rows.device)
    inject_row = 1 if direction > 0 else 0
    shares = None if adjoint_of is None else torch.empty_like(starts)
    adjoint = (ends, ends) if shares is None else (adjoint_of, shares)  # ends: not touched
    pointers = map(kernel_view, (rows, read_in, table, starts, states, ends, *adjoint))
    scalars = (copies, batch, chunks, segment, segments, direction, inject_row)
    with torch.cuda.device_of(rows):
        bank_kernel.bank_states_kernel[(copies * batch * segments,)](
            *pointers,
            *scalars,
            STATES=with_states,
            WITH_DA=adjoint_of is not None,
            **blocks.constants(blocks.states),
            **blocks.options(blocks.states),
        )
    return states, ends, shares


def _outputs(
    rows: Tensor, states: Tensor, toeplitz: Tensor, read_out: Tensor, blocks: BankBlocks
) -> Tensor:
    """Y = U K + X V (H, B, S, T)."""
    copies, batch, chunks, _ = rows.shape
    y = torch.empty_like(rows)
    pointers = map(kernel_view, (rows, states, toeplitz, read_out, y))
    tiles = -(-batch * chunks // blocks.output_rows)
    with torch.cuda.device_of(rows):
        bank_kernel.bank_outputs_kernel[(copies * tiles,)](
            *pointers,
            batch * chunks,
            **blocks.constants(blocks.outputs),
            **blocks.options(blocks.outputs),
        )
    return y


# --- layouts ------------------------------------------------------------------------------------


def _chunks(length: int, blocks: BankBlocks) -> int:
    return -(-length // blocks.block_t)


def _to_rows(u: Tensor, blocks: BankBlocks) -> Tensor:
    """(B, L, H) to (H, B, S, T) in float32, zeros in front: one copy, after which rows are wide."""
    batch, length, copies = u.shape
    chunks = _chunks(length, blocks)
    padding = chunks * blocks.block_t - length
    shape = (copies, batch, chunks * blocks.block_t)
    rows = torch.empty(shape, dtype=torch.float32, device=u.device)
    rows[..., :padding] = 0
    rows[..., padding:] = u.permute(2, 0, 1)
    return rows.unflatten(-1, (chunks, blocks.block_t))


def _from_rows(rows: Tensor, length: int) -> Tensor:
    """(H, B, S, T) to (B, L, H): a view, without the padding in front."""
    return rows.flatten(2)[..., -length:].permute(1, 2, 0)


def _complex(parts: Tensor) -> Tensor:
    """(..., 2, N) to complex (..., N)."""
    return torch.complex(parts[..., 0, :], parts[..., 1, :])


def _split(values: Tensor) -> Tensor:
    """Complex (..., N) to (..., 2, N)."""
    return torch.stack([values.real, values.imag], -2)


def _by_time(parts: Tensor) -> Tensor:
    """(H, B, segments, 2, N) to complex (B, segments, H N), as a scan takes it."""
    return _complex(parts).permute(1, 2, 0, 3).flatten(2)


def _by_copy(values: Tensor, copies: int) -> Tensor:
    """The inverse of ``_by_time``."""
    return _split(values.unflatten(-1, (copies, -1)).permute(2, 0, 1, 3))
