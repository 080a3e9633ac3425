"""Markov parameters h_0 = D, h_t = C A^(t-1) B: the impulse response, and its rounding error."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from ssmbench.linalg.powers import power_table
from ssmbench.linalg.precision import EPS
from ssmbench.systems import DiagonalSystem, DiscreteSystem


def markov_parameters(system: DiscreteSystem, horizon: int) -> Inexact[Tensor, "H L p m"]:
    """h_0 .. h_{L-1} of every head, in the system's precision; differentiable, O(L) memory."""
    if isinstance(system, DiagonalSystem):
        tail = _diagonal_tail(system, horizon - 1)
    else:
        A, B = system.to_dense().A, system.B
        dtype = torch.promote_types(A.dtype, B.dtype)
        states = _impulse_states(A.to(dtype), B.to(dtype), horizon - 1)
        tail = system.C.to(torch.promote_types(dtype, system.C.dtype))[:, None] @ states
    dtype = torch.promote_types(tail.dtype, system.D.dtype)
    return torch.cat([system.D[:, None].to(dtype), tail.to(dtype)], 1)


def markov_error(system: DiscreteSystem, horizon: int) -> Float[Tensor, " H"]:
    """Bound on sum_t ||h_t - computed h_t|| in float64, to first order in the rounding unit."""
    if isinstance(system, DiagonalSystem):
        return _diagonal_error(system, horizon)
    # A rounding error in a state travels on like an input does: sums of states reached from B,
    # times sums of outputs that a state causes, times the error of one step in the doubling.
    A, B, C = (t.to(torch.complex128) for t in (system.to_dense().A, system.B, system.C))
    reached = torch.linalg.matrix_norm(_impulse_states(A, B, horizon)).sum(-1)
    caused = torch.linalg.matrix_norm(_impulse_states(A.mH, C.mH, horizon)).sum(-1)
    size = torch.linalg.matrix_norm(A).clamp_min(1.0)
    return 8 * (system.states + 4) * EPS * size * reached * caused


def _blocks(count: int) -> int:
    return math.isqrt(max(count - 1, 0)) + 1


def _diagonal_tail(system: DiagonalSystem, count: int) -> Tensor:
    """h_1 .. h_count, (H, count, p, m)."""
    lam, B, C = system.lam, system.B, system.C
    wide = torch.promote_types(torch.promote_types(lam.dtype, B.dtype), C.dtype)
    residues = C.to(wide).mT[:, :, :, None] * B.to(wide)[:, :, None, :]
    tail = _power_sums(lam.to(wide), residues.flatten(2), count)
    tail = 2 * tail.real if system.conjugate else tail
    return tail.unflatten(1, residues.shape[2:]).movedim(-1, 1)


def _power_sums(lam: Tensor, residues: Tensor, count: int) -> Tensor:
    """sum_n r_n lam_n^t for t < count, (H, c, count), from lam (H, N) and residues (H, N, c).

    lam^(q s + r) = lam^(q s) lam^r turns the sum into a matrix product.
    """
    step = _blocks(count)
    small = power_table(lam, step, dim=-1)  # (H, N, s)
    large = power_table(small[..., -1] * lam, step, dim=-1)
    rows = (large[:, :, None] * residues[..., None]).flatten(2).mT @ small  # (H, c q, s)
    return rows.unflatten(1, (residues.shape[2], step)).flatten(2)[..., :count]


def _diagonal_error(system: DiagonalSystem, horizon: int) -> Tensor:
    """sum_t (2 t + N + 16) EPS sum_n |c| |b| |lam|^(t-1), with room for complex products."""
    sizes = torch.linalg.vector_norm(system.B, dim=-1) * torch.linalg.vector_norm(system.C, dim=-2)
    times = torch.arange(horizon, dtype=torch.float64, device=sizes.device)
    weights = (2 * times + system.states + 16) * 4 * EPS * (2 if system.conjugate else 1)
    envelope = _power_sums(system.lam.abs(), sizes[..., None], horizon)[:, 0]
    return (envelope * weights).sum(-1)


def _impulse_states(A: Tensor, B: Tensor, count: int) -> Tensor:
    """A^0 B .. A^(count-1) B, (H, count, N, m), by doubling."""
    states, power = B[:, None], A[:, None]
    while states.shape[1] < count:
        states = torch.cat([states, power @ states[:, : count - states.shape[1]]], 1)
        power = power @ power
    return states[:, :count]
