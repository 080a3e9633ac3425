"""Chunked scans of dense systems: through all states, or for few channels through Toeplitz blocks.

See :mod:`ssmbench.scans.chunked` for the formulas. With few channels, states are written at the
starts of chunks of T steps only, and a step costs T + 2 N + 2 N^2 / T multiply-adds where one with
all states written costs 2 N^2. Tables of A^j B and C A^i are doubled with the powers A, A^2, A^4
that lead to A^T, in double precision: log T operations, and no loop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Inexact
from torch import Tensor

from ssmbench.linalg.precision import to_double
from ssmbench.scans.base import drive_states, initial_state, read_out, state_dtype
from ssmbench.scans.chunks import (
    MAX_TOEPLITZ_CHANNELS,
    apply_complex,
    chunk_length,
    in_chunks,
    toeplitz,
)
from ssmbench.scans.dense_states import DenseStates, dense_states
from ssmbench.systems import DiscreteDense

LONGEST_CHUNK = 64
#: Steps of all sequences, for each state, from which tables cost less than the compiled loop of
#: :mod:`ssmbench.scans.native.dense` (measured between 8 and 24), which takes sequences in fours.
_STEPS_A_STATE = 24
_SEQUENCES = 4


def dense_scan(
    system: DiscreteDense,
    u: Inexact[Tensor, "B L H m"],
    x0: Tensor | None,
    states_of: DenseStates = dense_states,
) -> tuple[Inexact[Tensor, "B L H p"], Inexact[Tensor, "B H N"]]:
    """Outputs and final state, through all states: chunks of chunks, whatever the channels."""
    start = initial_state(system, u, x0)
    A, drive = system.A.to(start.dtype), drive_states(system.B.to(start.dtype), u)
    if system.heads == 1:  # sequences side by side, each in its own memory
        states = states_of(A, drive, start)
        return read_out(system, states[:, :-1], u), states[:, -1]
    states = states_of(A, drive.transpose(0, 2), start.transpose(0, 1))
    return read_out(system, states[:, :-1].transpose(0, 2), u), states[:, -1].transpose(0, 1)


# --- few channels -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tables:
    """What acts on a chunk of T steps, in double precision.

    ``powers``: A, A^2, A^4, .., A^T (H, N, N); ``reach``: the columns of B, A B, .. (H, N, T m);
    ``read``: the rows of C, C A, .. (H, T p, N); ``markov``: C B, C A B, .. (H, T p, m).
    """

    powers: Sequence[Tensor]
    reach: Tensor
    read: Tensor
    markov: Tensor

    @staticmethod
    def of(system: DiscreteDense, chunk: int) -> Tables:
        """By doubling; ``chunk`` is a power of two."""
        powers, reach, read = [to_double(system.A)], to_double(system.B), to_double(system.C)
        while 2 ** (len(powers) - 1) < chunk:
            reach = torch.cat([reach, _product(powers[-1], reach)], 2)
            read = torch.cat([read, _product(read, powers[-1])], 1)
            powers.append(powers[-1] @ powers[-1])
        return Tables(powers, reach, read, _product(read, to_double(system.B)))

    def fit(self, dtype: torch.dtype, output: torch.dtype) -> bool:
        """Whether all that act on states, of ``dtype``, are far from overflow (see ``chunked``),
        and ``markov`` is finite in the dtype of the outputs."""
        tables = (*self.powers, self.reach, self.read)
        sizes = torch.stack([table.detach().abs().amax() for table in tables])
        far = sizes.amax() < math.sqrt(torch.finfo(dtype).max)
        return bool(far & (self.markov.detach().abs().amax() <= torch.finfo(output).max))

    def advance(self, states: Inexact[Tensor, "H B N"], steps: int) -> Inexact[Tensor, "H B N"]:
        """A^steps x for 0 < steps <= T."""
        for k, power in enumerate(self.powers):
            if steps >> k & 1:
                states = states @ power.mT.to(states.dtype)
        return states


def dense_toeplitz_scan(
    system: DiscreteDense, u: Inexact[Tensor, "B L H m"], x0: Tensor | None
) -> tuple[Inexact[Tensor, "B L H p"], Inexact[Tensor, "B H N"]]:
    """Few channels: states at the starts of chunks only, Toeplitz blocks within them.

    Where an input is not finite, the outputs of its whole chunk are NaN, those before it too.
    """
    batch, length, heads, inputs = u.shape
    dtype, chunk = state_dtype(system, u), chunk_length(length, LONGEST_CHUNK)
    output = torch.promote_types(dtype, torch.promote_types(system.C.dtype, system.D.dtype))
    tables = Tables.of(system, chunk)
    if not tables.fit(dtype, output):
        return dense_scan(system, u, x0)
    blocks = in_chunks(u, chunk).permute(3, 0, 1, 2, 4)  # (H, B, S, T, m)
    count = blocks.shape[2]
    rows = blocks.reshape(heads, -1, chunk * inputs)
    reach = tables.reach.unflatten(2, (chunk, inputs)).flip(2).flatten(2).mT.to(dtype)
    y = apply_complex(rows, _markov_toeplitz(system, tables).to(output))
    ends = apply_complex(rows, reach).unflatten(1, (batch, count)).transpose(1, 2)  # (H, S, B, N)
    wide = torch.promote_types(dtype, tables.reach.dtype)
    start = initial_state(system, u, x0).transpose(0, 1).to(wide)
    starts = dense_states(tables.powers[-1].to(wide), ends[:, :-1].to(wide), start)
    last = length - (count - 1) * chunk  # steps in the last chunk
    tail = blocks[:, :, -1, :last].reshape(heads, batch, -1)
    final = tables.advance(starts[:, -1], last).to(dtype)
    final = final + apply_complex(tail, reach[:, (chunk - last) * inputs :])
    if count > 1 or x0 is not None:
        carried = starts.transpose(1, 2).reshape(heads, -1, system.states).to(output)
        y = y + torch.bmm(carried, tables.read.mT.to(output))
    y = y.reshape(heads, batch, -1, system.outputs).permute(1, 2, 0, 3)
    return y[:, :length], final.transpose(0, 1)


def worth_toeplitz(system: DiscreteDense, u: Inexact[Tensor, "B L H m"]) -> bool:
    """Whether channels are few, and steps many enough to repay the tables."""
    few = system.inputs * system.outputs <= MAX_TOEPLITZ_CHANNELS
    sequences = _SEQUENCES * -(-u.shape[0] // _SEQUENCES)
    return few and sequences * u.shape[1] >= _STEPS_A_STATE * system.states


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b, of which one may be complex."""
    dtype = torch.promote_types(a.dtype, b.dtype)
    return a.to(dtype) @ b.to(dtype)


def _markov_toeplitz(system: DiscreteDense, tables: Tables) -> Inexact[Tensor, "H Tm Tp"]:
    """Toeplitz blocks of D, C B, C A B, .., to act on rows."""
    markov = tables.markov.unflatten(1, (-1, system.outputs))[:, :-1].permute(0, 2, 3, 1)
    kernel = torch.cat([system.D[..., None].to(markov.dtype), markov], -1)
    return toeplitz(kernel).permute(0, 4, 2, 3, 1).flatten(3, 4).flatten(1, 2)
