"""Chunked scans in plain torch: matrix products within chunks, a short loop between them.

With chunks of T steps the recurrence is (Mamba-2's "state-space duality" form, arXiv 2405.21060,
section 6, for time-invariant systems):

    y_chunk = Toeplitz(h) u_chunk + [C A^i]_i x_chunk
    x_next = A^T x_chunk + [A^(T-1-j) B]_j u_chunk

Tables of powers are built by repeated squaring in double precision, then cast: rounding of lam^t
dominates the error of long scans otherwise, and lam = 0 needs no special case. The loop between
chunks stays in double: its rounding errors would accumulate over the memory of slow modes.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Inexact
from torch import Tensor

from ssmbench.linalg.powers import matrix_power_table, power_table
from ssmbench.linalg.precision import to_double
from ssmbench.registry import scans
from ssmbench.scans import native
from ssmbench.scans.base import (
    ScanBackend,
    Scannable,
    initial_state,
    scan_through_states,
    sequential_scan,
    state_dtype,
    time_varying_scan,
    widening,
)
from ssmbench.scans.chunked_dense import dense_scan, dense_toeplitz_scan, worth_toeplitz
from ssmbench.scans.chunks import (
    MAX_TOEPLITZ_CHANNELS,
    apply_complex,
    chunk_length,
    in_chunks,
    toeplitz,
)
from ssmbench.systems import (
    DiscreteDense,
    DiscreteDiagonal,
    DiscreteSystem,
    TimeVaryingDelta,
    TimeVaryingDiagonal,
)
from ssmbench.transforms import values_unknown

_MAX_CHUNK = 64


@scans.register("chunked")
class ChunkedScan(ScanBackend):
    """Chunked matrix products in plain torch: needs no compiler and runs on any device.

    Under ``torch.compile``, ``torch.export`` and ``torch.func`` it calls the operators of
    :mod:`ssmbench.scans.native`, since the choice among its formulas depends on values; for the
    delta rule always, which has no chunked form here.
    """

    preference = 10
    system_types = Scannable
    takes_shared_rows = True

    @widening
    def __call__(
        self, system: Scannable, u: Tensor, x0: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if isinstance(system, TimeVaryingDiagonal):
            return time_varying_scan(system, u, x0, self.linear_scan)
        if isinstance(system, TimeVaryingDelta):
            return native.scan_delta(system, u, x0)
        if values_unknown():  # whether powers overflow is unknown
            return native.scan_traced(system, u, x0)
        if u.shape[0] == 0:  # nothing to chunk
            return sequential_scan(system, u, x0)
        if isinstance(system, DiscreteDense):
            few = worth_toeplitz(system, u)
            return (dense_toeplitz_scan if few else dense_scan)(system, u, x0)
        if system.inputs * system.outputs <= MAX_TOEPLITZ_CHANNELS:
            return toeplitz_scan(system, u, x0)
        if not _fits(system.lam.detach().abs() ** chunk_length(u.shape[1]), system, u):
            return sequential_scan(system, u, x0)
        return scan_through_states(system, u, x0, linear_scan)

    @widening
    def linear_scan(
        self, a: Tensor, b: Tensor, x0: Tensor | None = None, *, reverse: bool = False
    ) -> Tensor:
        """Chunked where a is constant and its powers fit; step by step otherwise."""
        if values_unknown():
            return native.linear_scan(a, b, x0, reverse=reverse)
        chunk = chunk_length(b.shape[1])
        limit = math.sqrt(torch.finfo(b.dtype).max)
        if a.ndim == 3 or b.numel() == 0 or not bool((a.detach().abs() ** chunk).amax() < limit):
            return super().linear_scan(a, b, x0, reverse=reverse)
        start = b.new_zeros(b.shape[0], b.shape[2]) if x0 is None else x0
        if not reverse:
            return linear_scan(a, b, start)
        return linear_scan(a, b.flip(1), start).flip(1)


def linear_scan(
    a: Inexact[Tensor, " N"], b: Inexact[Tensor, "B L N"], x0: Inexact[Tensor, "B N"]
) -> Inexact[Tensor, "B L N"]:
    """``s[k] = a s[k-1] + b[k]``, every state written."""
    batch, length, states = b.shape
    chunk = chunk_length(length)
    wide = power_table(to_double(a), chunk + 1)  # (T + 1, N)
    powers = wide.to(b.dtype)
    blocks = in_chunks(b, chunk).permute(3, 0, 1, 2).reshape(states, -1, chunk)
    local = torch.bmm(blocks, toeplitz(powers[:chunk].T).transpose(1, 2))
    local = local.reshape(states, batch, -1, chunk).permute(1, 2, 3, 0)  # (B, S, T, N)
    starts = [x0.to(wide.dtype)]
    for end in local[:, :-1, -1].unbind(1):
        starts.append(wide[chunk] * starts[-1] + end)
    carried = powers[1:, None] * torch.stack(starts, 1).to(b.dtype)[:, :, None, None]
    return (local + carried.squeeze(-2)).reshape(batch, -1, states)[:, :length]


def toeplitz_scan(
    system: DiscreteDiagonal, u: Inexact[Tensor, "B L H m"], x0: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Few channels per head: states only at chunk boundaries, Toeplitz blocks within chunks."""
    batch, length, heads, inputs = u.shape
    chunk = chunk_length(length, _MAX_CHUNK)
    powers = power_table(to_double(system.lam), chunk + 1)  # (T + 1, H, N)
    if not _fits(powers, system, u):
        return sequential_scan(system, u, x0)
    dtype = state_dtype(system, u)
    read_in = torch.einsum("thn,hnm->htmn", powers[:chunk], system.B.to(powers.dtype))
    read_from = torch.einsum("thn,hpn->htpn", powers[:chunk], system.C.to(powers.dtype))
    blocks = in_chunks(u, chunk).permute(3, 0, 1, 2, 4)  # (H, B, S, T, m)
    rows = blocks.reshape(heads, -1, chunk * inputs)
    markov = _markov_toeplitz(system, read_from)
    y = apply_complex(rows, markov.to(dtype if markov.is_complex() else rows.dtype))
    last = length - (blocks.shape[2] - 1) * chunk  # steps in the last chunk
    ends = apply_complex(rows, read_in.flip(1).flatten(1, 2).to(dtype))
    ends = ends.reshape(heads, batch, -1, system.states)
    wide = torch.promote_types(dtype, powers.dtype)
    starts = [initial_state(system, u, x0).transpose(0, 1).to(wide)]
    for end in ends[:, :, :-1].unbind(2):
        starts.append(powers[chunk, :, None] * starts[-1] + end)
    tail = blocks[:, :, -1, :last].reshape(heads, batch, -1)
    final = (powers[last, :, None] * starts[-1]).to(dtype)
    final = final + apply_complex(tail, read_in[:, :last].flip(1).flatten(1, 2).to(dtype))
    if len(starts) > 1 or x0 is not None:
        carried = torch.stack(starts, 2).to(dtype).reshape(heads, -1, system.states)
        y = y + _read_from(system, carried, read_from.flatten(1, 2).to(dtype))
    y = y.reshape(heads, batch, -1, system.outputs).permute(1, 2, 0, 3)
    return y[:, :length], final.transpose(0, 1)


def _fits(powers: Tensor, system: DiscreteSystem, u: Tensor) -> bool:
    """Whether powers are far from overflow in the dtype of the states.

    Beyond it, 0 * inf would make NaN where a sequential scan is finite. The square root leaves room
    for B and C, which are multiplied in.
    """
    limit = math.sqrt(torch.finfo(state_dtype(system, u)).max)
    return bool(powers.detach().abs().amax() < limit)


def _markov_toeplitz(system: DiscreteDiagonal, read_from: Tensor) -> Tensor:
    """Toeplitz blocks (H, T m, T p) of the Markov parameters D, CB, CAB, ..., to act on rows."""
    markov = torch.einsum("htpn,hnm->hpmt", read_from[:, :-1], system.B.to(read_from.dtype))
    if system.conjugate:
        markov = 2 * markov.real
    kernel = torch.cat([system.D[..., None].to(markov.dtype), markov], -1)
    blocks = toeplitz(kernel)  # (H, p, m, T out, T in)
    return blocks.permute(0, 4, 2, 3, 1).flatten(3, 4).flatten(1, 2)


def _read_from(system: DiscreteDiagonal, states: Tensor, matrix: Tensor) -> Tensor:
    """What chunk-start states (H, R, N) add to the outputs, by rows (H, T p, N) of C A^i."""
    if not system.conjugate:
        return torch.bmm(states, matrix.transpose(1, 2))
    weights = torch.view_as_real(2 * matrix.conj().resolve_conj())  # Re(w x) = <conj(w), x>
    return torch.bmm(torch.view_as_real(states).flatten(2), weights.flatten(2).transpose(1, 2))


def zero_input_response(
    system: DiscreteSystem, x0: Inexact[Tensor, "B H N"], length: int
) -> tuple[Inexact[Tensor, "B L H p"], Inexact[Tensor, "B H N"]]:
    """``y[k] = C A^k x0`` for k < L and the state ``A^L x0``: what an initial state adds.

    By powers of A in double precision, so a vanishing state never meets an overflowing power.
    """
    chunk = chunk_length(length, _MAX_CHUNK)
    dense = isinstance(system, DiscreteDense)
    table = matrix_power_table if dense else power_table
    within = table(to_double(system.dynamics), chunk + 1)
    between = table(within[chunk], -(-length // chunk))
    last = length - (len(between) - 1) * chunk
    wide = x0.to(within.dtype)
    if dense:
        starts = torch.einsum("shij,bhj->bshi", between, wide)
        read_from = torch.einsum("hpi,thij->thpj", system.C.to(within.dtype), within[:chunk])
        final = torch.einsum("hij,bhj->bhi", within[last], starts[:, -1])
    else:
        starts = between * wide[:, None]
        read_from = within[:chunk, :, None] * system.C.to(within.dtype)
        final = within[last] * starts[:, -1]
    narrow = x0.dtype
    y = torch.einsum("thpn,bshn->bsthp", read_from.to(narrow), starts.to(narrow))
    if isinstance(system, DiscreteDiagonal) and system.conjugate:
        y = 2 * y.real
    return y.flatten(1, 2)[:, :length], final.to(narrow)
