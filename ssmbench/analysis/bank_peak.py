"""Peak frequencies of banks of diagonal systems with one input or one output, all heads at once.

The gain is evaluated on a grid that is as fine as the distance to the nearest pole, and each high
local maximum is refined by golden sections.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ssmbench.linalg.singular_values import sigma_max
from ssmbench.systems import ContinuousSystem, DiagonalSystem, DiscreteSystem

#: Spacing of the grid in units of the distance to the nearest pole: a Lorentzian peak that falls
#: midway between two points is seen at 98% of its height.
_SPACING = 0.4
#: Local maxima of the grid below this share of the largest cannot hold the peak.
_CONTENDER = 0.7
_GOLDEN_STEPS = 40
#: Complex numbers of one temporary: 32 MB.
_CHUNK = 2**21


def peak_frequency(system: DiagonalSystem) -> Tensor:
    """Peak frequency (H,) of stable, finite heads with one input or one output."""
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
    chunk = max(1, _CHUNK // poles.numel())
    feedthrough = system.D.to(residues).flatten(-2)[:, None]
    pieces = []
    for part in omega.split(chunk, -1):
        resolvent = (system.boundary_point(part)[:, :, None] - poles[:, None, :]).reciprocal_()
        pieces.append(torch.linalg.vector_norm(resolvent @ residues + feedthrough, dim=-1))
    return torch.cat(pieces, -1)


def _grid(system: DiagonalSystem) -> Tensor:
    """Frequencies (H, W), ascending, spaced in proportion to the distance to the nearest pole.

    Around an edge (a pole frequency) at distance e from its nearest pole the spacing grows as
    omega = edge + e sinh(s), s uniform, up to the middle of the interval between two edges. At
    least eight points a mode resolve the ripples of modes that act together, like a delay line.
    """
    edges = _edges(system)
    distance = (
        (system.boundary_point(edges)[:, :, None] - system.poles()[:, None, :]).abs().amin(-1)
    )
    half = edges.diff(dim=-1) / 2
    # 2 (E - 1) half intervals: up from an edge to the middle, then from the middle up to an edge
    lengths = torch.stack([(half / distance[:, :-1]).asinh(), (half / distance[:, 1:]).asinh()], -1)
    ends = lengths.flatten(1).cumsum(-1)
    starts = ends - lengths.flatten(1)
    count = max(int(ends[:, -1].max() / _SPACING), 8 * system.order) + 2
    s = ends[:, -1:] * torch.linspace(0, 1, count, dtype=ends.dtype, device=ends.device)
    piece = torch.searchsorted(ends, s).clamp_max(ends.shape[1] - 1)
    rising = piece % 2 == 0
    travelled = torch.where(rising, s - starts.gather(1, piece), s - ends.gather(1, piece))
    edge = piece // 2 + (~rising).long()
    return edges.gather(1, edge) + distance.gather(1, edge) * travelled.sinh()


def _edges(system: DiagonalSystem) -> Tensor:
    """Pole frequencies (H, E), ascending, with the ends of the axis."""
    real = system.is_real()
    poles = system.lam.to(torch.complex128) if real else system.poles()
    omega = system.frequency_of(poles)
    if isinstance(system, DiscreteSystem):
        ends = torch.tensor(math.pi, device="cpu").to(omega).expand(len(omega), 1)
    else:
        # Beyond the poles the gain settles towards D like 1 / omega.
        factors = torch.logspace(0.5, 6, 6, device="cpu").to(omega)
        ends = poles.abs().amax(-1, keepdim=True) * factors
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
    contenders = local & (gain >= _CONTENDER * gain.amax(-1, keepdim=True))
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
    for _ in range(_GOLDEN_STEPS):
        keep = at_left >= at_right  # the maximum lies below `right`
        low, high = torch.where(keep, low, left), torch.where(keep, right, high)
        probe = torch.where(keep, high - ratio * (high - low), low + ratio * (high - low))
        value = function(probe)
        left, right = torch.where(keep, probe, right), torch.where(keep, left, probe)
        at_left, at_right = torch.where(keep, value, at_right), torch.where(keep, at_left, value)
    return torch.where(at_left >= at_right, left, right)
