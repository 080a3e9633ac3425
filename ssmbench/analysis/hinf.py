"""H-infinity norm: the largest gain of a linear system over all frequencies, and where it is.

Two searches find the peak frequency, and one differentiable evaluation turns it into the norm:

* dense systems, and diagonal ones with several inputs and outputs: the two-step level-set method of
  Bruinsma & Steinbuch (1990), in ``level_set``, exact to 2e-9;
* banks of diagonal systems with one input or one output: all heads at once, on a grid that is as
  fine as the distance to the nearest pole, each high local maximum refined by golden sections.

Everything runs in float64 and complex128: complex64 is off by 4% at a gap of 1e-6.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.analysis.level_set import Plant, peak_frequency, schur_gain
from ssmbench.analysis.scaling import F, FirstOrder, balanced, first_order, in_units
from ssmbench.linalg.singular_values import sigma_max, sigma_max_of_arrays
from ssmbench.systems import (
    ContinuousSystem,
    DiagonalSystem,
    DiscreteDiagonal,
    DiscreteSystem,
    LinearSystem,
)

# Spacing of the grid in units of the distance to the nearest pole: a Lorentzian peak that falls
# midway between two points is seen at 98% of its height.
SPACING = 0.4
# Local maxima of the grid below this share of the largest cannot hold the peak.
CONTENDER = 0.7
GOLDEN_STEPS = 40
CHUNK = 2**21  # complex numbers of one temporary, 32 MB


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
    with torch.no_grad():
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


def is_real(system: LinearSystem) -> bool:
    """Whether G(conj z) = conj G(z), so that non-negative frequencies suffice."""
    if isinstance(system, DiagonalSystem) and system.conjugate:
        return not system.D.is_complex()
    return not any(tensor.is_complex() for tensor in system.tensors().values())


def gaps(system: LinearSystem) -> Float[Tensor, "H order"]:
    """Distance of every pole to the stability boundary, positive inside: 1 - |lam| or -Re lam."""
    poles = system.poles()
    return 1 - poles.abs() if isinstance(system, DiscreteSystem) else -poles.real


def usable_heads(system: LinearSystem) -> Tensor:
    """Systems (H,) that are finite and, unless they are static, strictly stable."""
    finite = torch.stack([t.isfinite().flatten(1).all(1) for t in _matrices(system).values()])
    return finite.all(0) & ((gaps(system) > 0).all(-1) | is_static(system))


def is_static(system: LinearSystem) -> Tensor:
    """Systems (H,) with no path from input to output through the state: B or C is zero."""
    return ~((system.C != 0).flatten(1).any(1) & (system.B != 0).flatten(1).any(1))


def _matrices(system: LinearSystem) -> dict[str, Tensor]:
    """The tensors without the step size, which the norm of a continuous system does not read."""
    return {name: tensor for name, tensor in system.tensors().items() if name != "dt"}


def replace_unusable_with_zero(system: F, usable: Tensor) -> F:
    """Zero systems in place of those that have no norm, so that no NaN enters a gradient.

    Static systems keep D; their poles, on which no output depends, are replaced by stable ones.
    """
    rest = 0.0 if isinstance(system, DiscreteSystem) else -1.0
    fills = {name: torch.zeros((), dtype=t.dtype) for name, t in _matrices(system).items()}
    if isinstance(system, DiagonalSystem):
        name, fills["lam"] = "lam", fills["lam"] + rest
    else:
        name, fills["A"] = "A", rest * torch.eye(system.states, dtype=system.A.dtype)
    keep = dict.fromkeys(fills, usable) | {name: usable & ~is_static(system)}
    changed = {
        name: torch.where(
            keep[name].view(-1, *[1] * (tensor.ndim - 1)), tensor, fills[name].to(tensor.device)
        )
        for name, tensor in _matrices(system).items()
    }
    return dataclasses.replace(system, **changed)


def least_stable_frequency(system: LinearSystem) -> Tensor:
    """Angle or imaginary part of the pole of smallest gap, (H,)."""
    distance = torch.nan_to_num(gaps(system), nan=-math.inf)
    poles = system.poles().gather(1, distance.argmin(-1, keepdim=True))[:, 0]
    omega = poles.angle() if isinstance(system, DiscreteSystem) else poles.imag
    omega = omega.abs() if is_real(system) else omega
    return torch.where(omega.isfinite() & poles.abs().isfinite(), omega, 0.0)


# --- evaluation ---------------------------------------------------------------------------------


def gain_at(system: LinearSystem, omega: Tensor) -> Tensor:
    """sigma_max G at one frequency per head (H,), differentiable; D answers for infinity."""
    infinite = omega.isinf()
    G = system.frequency_response(torch.where(infinite, 0.0, omega)[:, None])[:, 0]
    return sigma_max(torch.where(infinite[:, None, None], system.D.to(G), G))


def _point(system: LinearSystem, omega: Tensor) -> Tensor:
    """The point of the stability boundary at a frequency: e^{i omega} or i omega."""
    if isinstance(system, DiscreteSystem):
        return torch.polar(torch.ones_like(omega), omega)
    return torch.complex(torch.zeros_like(omega), omega)


@np.errstate(all="ignore")  # frequencies at which the gain overflows are left out
def _peak_frequency(system: FirstOrder) -> Tensor:
    """Peak frequency (H,) of a stable, finite bank."""
    if isinstance(system, DiagonalSystem) and min(system.inputs, system.outputs) == 1:
        return _search_bank(system)
    heads = [peak_frequency(_plant(system.head(h))) for h in range(system.heads)]
    return torch.tensor(heads, dtype=torch.float64, device=system.D.device)


# --- one head -----------------------------------------------------------------------------------


def _plant(copy: FirstOrder) -> Plant:
    dense = balanced(copy.to_dense())
    A, B, C, D = (t[0].cpu().resolve_conj().numpy() for t in (dense.A, dense.B, dense.C, dense.D))
    discrete = isinstance(copy, DiscreteSystem)
    gain = (
        _modal_gain(copy) if isinstance(copy, DiagonalSystem) else schur_gain(A, B, C, D, discrete)
    )
    return Plant(A, B, C, D, discrete=discrete, real=is_real(copy), gain=gain)


def _modal_gain(copy: LinearSystem) -> Callable[[np.ndarray], np.ndarray]:
    def gain(omega: np.ndarray) -> np.ndarray:
        chunk = max(1, CHUNK // (copy.outputs * (copy.states + copy.inputs)))
        pieces = torch.as_tensor(omega, device=copy.D.device).split(chunk)
        return np.concatenate(
            [sigma_max_of_arrays(copy.frequency_response(w)[0].cpu().numpy()) for w in pieces]
        )

    return gain


# --- banks of diagonal heads -------------------------------------------------------------------


def _search_bank(system: DiagonalSystem) -> Tensor:
    """Peak frequency (H,) of diagonal heads with one input or one output."""
    modes = _modes(system)
    omega = _grid(system)
    gain = _bank_gain(system, modes, omega)
    low, middle, high = _brackets(omega, gain)
    found = _golden(lambda w: _bank_gain(system, modes, w), low, high)
    omega = torch.cat([middle, found], -1)
    gain = _bank_gain(system, modes, omega)
    if isinstance(system, ContinuousSystem):
        infinity = torch.full_like(omega[:, :1], math.inf)
        omega = torch.cat([infinity, omega], -1)
        gain = torch.cat([sigma_max(system.D)[:, None], gain], -1)
    return omega.gather(1, gain.argmax(-1, keepdim=True))[:, 0]


def _modes(system: DiagonalSystem) -> tuple[Tensor, Tensor]:
    """Poles (H, order) and residues (H, order, p m)."""
    wide = torch.complex128
    residues = system.C.to(wide).mT.unsqueeze(-1) * system.B.to(wide).unsqueeze(-2)
    residues = residues.flatten(-2)
    if system.conjugate:
        residues = torch.cat([residues, residues.conj().resolve_conj()], 1)
    return system.poles(), residues


def _bank_gain(system: DiagonalSystem, modes: tuple[Tensor, Tensor], omega: Tensor) -> Tensor:
    """Gain (H, W) at frequencies (H, W), in chunks of bounded memory."""
    poles, residues = modes
    chunk = max(1, CHUNK // poles.numel())
    feedthrough = system.D.to(residues).flatten(-2)[:, None]
    pieces = []
    for part in omega.split(chunk, -1):
        resolvent = (_point(system, part)[:, :, None] - poles[:, None, :]).reciprocal_()
        pieces.append(torch.linalg.vector_norm(resolvent @ residues + feedthrough, dim=-1))
    return torch.cat(pieces, -1)


def _grid(system: DiagonalSystem) -> Tensor:
    """Frequencies (H, W), ascending, spaced in proportion to the distance to the nearest pole.

    Around an edge (a pole frequency) at distance e from its nearest pole the spacing grows as
    omega = edge + e sinh(s), s uniform, up to the middle of the interval between two edges. At
    least eight points a mode resolve the ripples of modes that act together, like a delay line.
    """
    edges = _edges(system)
    distance = (_point(system, edges)[:, :, None] - system.poles()[:, None, :]).abs().amin(-1)
    half = edges.diff(dim=-1) / 2
    # 2 (E - 1) half intervals: up from an edge to the middle, then from the middle up to an edge
    lengths = torch.stack([(half / distance[:, :-1]).asinh(), (half / distance[:, 1:]).asinh()], -1)
    ends = lengths.flatten(1).cumsum(-1)
    starts = ends - lengths.flatten(1)
    count = max(int(ends[:, -1].max() / SPACING), 8 * system.order) + 2
    s = ends[:, -1:] * torch.linspace(0, 1, count, dtype=ends.dtype, device=ends.device)
    piece = torch.searchsorted(ends, s).clamp_max(ends.shape[1] - 1)
    rising = piece % 2 == 0
    travelled = torch.where(rising, s - starts.gather(1, piece), s - ends.gather(1, piece))
    edge = piece // 2 + (~rising).long()
    return edges.gather(1, edge) + distance.gather(1, edge) * travelled.sinh()


def _edges(system: DiagonalSystem) -> Tensor:
    """Pole frequencies (H, E), ascending, with the ends of the axis."""
    real = is_real(system)
    poles = system.lam.to(torch.complex128) if real else system.poles()
    if isinstance(system, DiscreteDiagonal):
        omega, ends = poles.angle(), torch.tensor([math.pi])
    else:
        # Beyond the poles the gain settles towards D like 1 / omega.
        omega, ends = poles.imag, torch.logspace(0.5, 6, 6)
        ends = poles.abs().amax(-1, keepdim=True) * ends.to(omega)
    ends = ends.to(omega).expand(len(omega), -1)
    if real:
        parts = [torch.zeros_like(omega[:, :1]), omega.abs(), ends]
    else:
        parts = [-ends, omega, ends]
    return torch.cat(parts, -1).sort(-1).values


def _brackets(omega: Tensor, gain: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The highest local maxima of the grid with their neighbours: three times (H, K)."""
    edge = torch.full_like(gain[:, :1], -math.inf)
    padded = torch.cat([edge, gain, edge], -1)
    local = (gain >= padded[:, :-2]) & (gain >= padded[:, 2:])
    contenders = local & (gain >= CONTENDER * gain.amax(-1, keepdim=True))
    count = min(int(contenders.sum(-1).max()), 64)  # a constant gain makes every point contend
    index = torch.where(contenders, gain, -math.inf).topk(max(count, 1)).indices
    last = omega.shape[1] - 1
    neighbours = ((index - 1).clamp_min(0), index, (index + 1).clamp_max(last))
    left, middle, right = (omega.gather(1, i) for i in neighbours)
    return left, middle, right


def _golden(function: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """Maximiser of a unimodal function on each bracket, by golden sections."""
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(GOLDEN_STEPS):
        keep = at_left >= at_right  # the maximum lies below `right`
        low, high = torch.where(keep, low, left), torch.where(keep, right, high)
        probe = torch.where(keep, high - ratio * (high - low), low + ratio * (high - low))
        value = function(probe)
        left, right = torch.where(keep, probe, right), torch.where(keep, left, probe)
        at_left, at_right = torch.where(keep, value, at_right), torch.where(keep, at_left, value)
    return torch.where(at_left >= at_right, left, right)
