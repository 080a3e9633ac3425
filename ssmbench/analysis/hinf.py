"""H-infinity norm: the largest gain of a linear system over all frequencies, and where it is.

Two searches find the peak frequency, and one differentiable evaluation turns it into the norm:

* dense systems, and diagonal ones with several inputs and outputs: the two-step level-set method of
  Bruinsma & Steinbuch (1990), in ``level_set``, exact to 2e-9;
* banks of diagonal systems with one input or one output: all heads at once, in ``bank_peak``.

Everything runs in float64 and complex128: complex64 is off by 4% at a gap of 1e-6.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.analysis import bank_peak, level_set
from ssmbench.analysis.level_set import GainCurve, Plant, schur_gain
from ssmbench.analysis.scaling import F, FirstOrder, balanced, first_order, in_units
from ssmbench.linalg.singular_values import sigma_max, sigma_max_of_arrays
from ssmbench.systems import DiagonalSystem, DiscreteSystem, LinearSystem

#: Complex numbers of one temporary: 32 MB.
_CHUNK = 2**21


@dataclass(frozen=True)
class Peak:
    """The norm of every head, and the frequency at which it is reached.

    norm (H,) float64, infinite where a head is unstable, has a pole on the stability boundary or
    holds an entry that is not finite; never NaN. omega (H,) float64 in radians per sample (discrete
    time) or per time unit (continuous time): non-negative for real systems, in (-pi, pi] or of
    either sign for complex ones, infinite when a continuous norm is only reached at infinity. For a
    head whose norm is infinite, omega is the frequency of its least stable pole (0 when that is not
    a number).
    """

    norm: Float[Tensor, " H"]
    omega: Float[Tensor, " H"]


def hinf_norm(system: LinearSystem) -> Peak:
    """H-infinity norm of every head.

    The norm is differentiable in the system's tensors: by the envelope theorem the gradient is that
    of sigma_max G at the peak frequency held fixed. Heads of infinite norm get a zero gradient.

    Args:
        system: dense or diagonal, continuous (step size ignored) or discrete; any float dtype.

    Returns:
        Peak, norm and omega (H,) float64.

    Source: Bruinsma & Steinbuch (1990), Syst. Control Lett. 14:287, two-step algorithm; the pencil
        without inverses follows Benner, Sima & Voigt (2012), IEEE Trans. Autom. Control 57:233.
    """
    if not system.states:
        D = system.D.double()
        return Peak(sigma_max(D), D.real.new_zeros(len(D)))
    units = in_units(first_order(system))
    usable = usable_heads(units.system.detach())
    safe = replace_unusable_with_zero(units.system, usable)
    # Frequencies at which the gain overflows are left out.
    with torch.no_grad(), np.errstate(all="ignore"):
        omega = _peak_frequency(safe.detach())
        fallback = _fallback(system, usable)
    norm = torch.nan_to_num(units.gain(gain_at(safe, omega)), nan=math.inf, posinf=math.inf)
    return Peak(
        norm=torch.where(usable, norm, math.inf),
        omega=torch.where(usable, units.frequency(omega), fallback),
    )


def _fallback(system: LinearSystem, usable: Tensor) -> Tensor:
    """Frequencies (H,) reported for systems without a finite norm."""
    if bool(usable.all()):
        return torch.zeros(len(usable), dtype=torch.float64, device=usable.device)
    return least_stable_frequency(first_order(system).double().detach())


# --- preparation --------------------------------------------------------------------------------


def usable_heads(system: LinearSystem) -> Tensor:
    """Systems (H,) that are finite and, unless they are static, strictly stable."""
    # All but the step size, which the norm of a continuous system does not read.
    matrices = (system.dynamics, system.B, system.C, system.D)
    finite = torch.stack([t.isfinite().flatten(1).all(1) for t in matrices])
    return finite.all(0) & ((system.gap_of(system.poles()) > 0).all(-1) | is_static(system))


def is_static(system: LinearSystem) -> Tensor:
    """Systems (H,) with no path from input to output through the state: B or C is zero."""
    return ~((system.C != 0).flatten(1).any(1) & (system.B != 0).flatten(1).any(1))


def replace_unusable_with_zero(system: F, usable: Tensor) -> F:
    """Zero systems in place of those that have no norm, so that no NaN enters a gradient.

    Static systems keep D; their poles, on which no output depends, are replaced by stable ones.
    """
    moves = usable & ~is_static(system)
    stable = system.repeated_pole(system.stable_pole)
    matrices = {name: _where(usable, getattr(system, name), 0.0) for name in "BCD"}
    system = dataclasses.replace(system, **matrices)
    return system.with_dynamics(_where(moves, system.dynamics, stable))


def _where(heads: Tensor, values: Tensor, others: Tensor | float) -> Tensor:
    """Some heads (H,) of ``values`` (H, ...), and ``others`` (...) for the rest."""
    return torch.where(heads.view(-1, *[1] * (values.ndim - 1)), values, others)


def least_stable_frequency(system: LinearSystem) -> Tensor:
    """Angle or imaginary part of the pole of smallest gap, (H,)."""
    poles = system.poles()
    gaps = torch.nan_to_num(system.gap_of(poles), nan=-math.inf)
    poles = poles.gather(1, gaps.argmin(-1, keepdim=True))[:, 0]
    omega = system.frequency_of(poles)
    omega = omega.abs() if system.is_real() else omega
    return torch.where(omega.isfinite() & poles.abs().isfinite(), omega, 0.0)


# --- evaluation ---------------------------------------------------------------------------------


def gain_at(system: LinearSystem, omega: Tensor) -> Tensor:
    """sigma_max G at one frequency per head (H,), differentiable; D answers for infinity."""
    infinite = omega.isinf()
    G = system.frequency_response(torch.where(infinite, 0.0, omega)[:, None])[:, 0]
    return sigma_max(torch.where(infinite[:, None, None], system.D.to(G), G))


# --- search -------------------------------------------------------------------------------------


def _peak_frequency(system: FirstOrder) -> Tensor:
    """Peak frequency (H,) of a stable, finite bank."""
    if isinstance(system, DiagonalSystem) and min(system.inputs, system.outputs) == 1:
        return bank_peak.peak_frequency(system)
    heads = [level_set.peak_frequency(_plant(system.head(h))) for h in range(system.heads)]
    return torch.tensor(heads, dtype=torch.float64, device=system.D.device)


def _plant(head: FirstOrder) -> Plant:
    dense = balanced(head.to_dense())
    A, B, C, D = (t[0].cpu().resolve_conj().numpy() for t in (dense.A, dense.B, dense.C, dense.D))
    discrete = isinstance(head, DiscreteSystem)
    gain = (
        _modal_gain(head) if isinstance(head, DiagonalSystem) else schur_gain(A, B, C, D, discrete)
    )
    return Plant(A, B, C, D, discrete=discrete, real=head.is_real(), gain=gain)


def gain_curve(head: FirstOrder) -> GainCurve:
    """The gain of one head (H = 1) as a function of frequencies (W,) in NumPy."""
    return _plant(head).gain


def _modal_gain(head: DiagonalSystem) -> GainCurve:
    def gain(omega: np.ndarray) -> np.ndarray:
        chunk = max(1, _CHUNK // (head.outputs * (head.states + head.inputs)))
        pieces = torch.as_tensor(omega, device=head.D.device).split(chunk)
        return np.concatenate(
            [sigma_max_of_arrays(head.frequency_response(w)[0].cpu().numpy()) for w in pieces]
        )

    return gain
