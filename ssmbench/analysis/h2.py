"""H2 norm: the root of the impulse response's energy, summed over inputs and outputs.

For white noise of unit intensity at the input it is the root mean square of the output.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.analysis.gramians import (
    controllability_factor,
    gramian_denominators,
    observability_factor,
)
from ssmbench.analysis.hinf import replace_unusable_with_zero, usable_heads
from ssmbench.analysis.interval import INFINITE, UNPROVED, Interval, around
from ssmbench.analysis.scaling import first_order, in_units, times_power
from ssmbench.linalg.precision import EPS, double_dtype
from ssmbench.systems import (
    ContinuousSystem,
    DenseSystem,
    DiagonalSystem,
    DiscreteSystem,
    LinearSystem,
)


def h2_norm(system: LinearSystem) -> Float[Tensor, " H"]:
    """H2 norm of every head: sqrt(sum_t ||h_t||_F^2), or the integral in continuous time.

    Computed from the controllability Gramian X: ||D||_F^2 + trace(C X C^H); for a dense system from
    a factor X = L L^H, as ||C L||_F^2, which rounding cannot make negative. Differentiable.

    Args:
        system: dense or diagonal, continuous (step size ignored) or discrete; any float dtype.

    Returns:
        (H,) float64; infinite for systems that are unstable, hold an entry that is not finite, or
        are continuous with D != 0 (whose impulse response holds an impulse); never NaN.

    Source: Zhou, Doyle & Glover (1996), Robust and Optimal Control, section 4.7; in closed form for
        diagonal systems, X_ij = b_i b_j^H / (1 - lam_i conj(lam_j)).
    """
    units = in_units(first_order(system))
    usable = usable_heads(units.system.detach())
    continuous = isinstance(system, ContinuousSystem)
    if continuous:
        usable = usable & ~(system.D.detach().abs().amax((-2, -1)) > 0)
    safe = replace_unusable_with_zero(units.system, usable)
    energy = _diagonal_energy(safe) if isinstance(safe, DiagonalSystem) else _dense_energy(safe)
    if not continuous:
        energy = energy + safe.D.abs().square().sum((-2, -1))
    moves = energy > 0  # the root has no derivative at zero
    norm = torch.where(moves, torch.where(moves, energy, 1.0).sqrt(), 0.0)
    norm = in_time_units(units.gain(norm), units.speed)
    return torch.where(usable, torch.nan_to_num(norm, nan=math.inf, posinf=math.inf), math.inf)


def in_time_units(norm: Tensor, speed: Tensor) -> Tensor:
    """An H2 norm (H,) of systems whose unit of time is 2^-speed: times sqrt(2^speed)."""
    return times_power(norm, speed // 2) * torch.exp2((speed % 2).double() / 2)


def _dense_energy(system: DenseSystem) -> Tensor:
    """trace(C X C^H), (H,)."""
    matrices = {name: getattr(system, name) for name in "ABC"}
    dtype = double_dtype(*matrices.values())
    system = replace(system, **{name: matrix.to(dtype) for name, matrix in matrices.items()})
    A, B, C = system.A, system.B, system.C
    with torch.no_grad():
        L = controllability_factor(system)
        energy = (C @ L).abs().square().sum((-2, -1))
    if not any(t.requires_grad for t in (A, B, C)):
        return energy
    pairs = zip(_slopes(system, L), (A, B, C), strict=True)
    linear = torch.stack([2 * (slope.conj() * t).sum((-2, -1)).real for slope, t in pairs]).sum(0)
    return energy + (linear - linear.detach())


@torch.no_grad()
def _slopes(system: DenseSystem, L: Tensor) -> tuple[Tensor, ...]:
    """Half the gradients of the energy by A, B and C, from both Gramians X = L L^H and Y.

    Source: Wilson (1970), Proc. IEE 117:1147.
    """
    A, B, C, discrete = system.A, system.B, system.C, isinstance(system, DiscreteSystem)
    M = observability_factor(system)
    X, Y = L @ L.mH, M @ M.mH
    return (Y @ A @ X if discrete else Y @ X), Y @ B, C @ X


def _diagonal_energy(system: DiagonalSystem) -> Tensor:
    """sum_ij (C^H C)_ij^* X_ij, (H,), over all modes, conjugates written out."""
    return _energy_terms(system).sum((-2, -1)).real


def _energy_terms(system: DiagonalSystem, *, absolute: bool = False) -> Tensor:
    """The terms (H, n, n); ``absolute``: with absolute values, of which rounding is a share."""
    lam, B, C = (t.to(torch.complex128) for t in (system.lam, system.B, system.C))
    if system.conjugate:
        lam, B = torch.cat([lam, lam.conj()], 1), torch.cat([B, B.conj()], 1)
        C = torch.cat([C, C.conj()], 2)
    denominators = gramian_denominators(lam, discrete=isinstance(system, DiscreteSystem))
    if absolute:
        B, C, denominators = B.abs(), C.abs(), denominators.abs()
    return (B @ B.mH) * (C.mT @ C.conj()) / denominators


@torch.no_grad()
def diagonal_energy_interval(system: DiagonalSystem) -> list[Interval]:
    """The square of the H2 norm of each of the stable systems, enclosed; in float64.

    Every term of the sum is right to a few roundings, so that the sum is to as many of its
    absolute values.
    """
    terms = _energy_terms(system)
    size = 64 + 8 * (sum(terms.shape[-2:]) + system.inputs + system.outputs)
    errors = size * EPS * _energy_terms(system, absolute=True).sum((-2, -1))
    direct = system.D.abs().square().sum((-2, -1))
    found = []
    for energy, error, D in zip(terms.real.sum((-2, -1)), errors, direct, strict=True):
        if float(D) > 0 and isinstance(system, ContinuousSystem):
            found.append(INFINITE)
            continue
        whole = around(float(energy + D), float(error + 64 * EPS * D))
        ends = Interval(max(whole.lower, 0.0), max(whole.upper, 0.0))
        found.append(ends if math.isfinite(whole.upper) else UNPROVED)
    return found
