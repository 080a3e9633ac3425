"""A rigorous upper bound on the peak gain of diagonal banks, from finitely many frequencies.

Between samples a rational function cannot rise freely. As a function of the phase of its poles,

    theta(omega) = 2 sum_i arg(z - lam_i) - n omega,  theta' = sum_i (1-|lam_i|^2) / |z-lam_i|^2,

in discrete time, z = e^{i omega}, and in continuous time, z = i omega,

    theta(omega) = 2 sum_i arg(z - lam_i),            theta' = sum_i -2 Re lam_i / |z-lam_i|^2,

it obeys the Bernstein-Szego inequality that trigonometric polynomials obey in omega (Borwein &
Erdelyi 1995, Polynomials and Polynomial Inequalities, theorem 7.1.7; Mathematika 43 (1996) 413). If
the peak gain g is reached at theta*, it follows that sigma_max G >= g cos((theta - theta*) / 2)
nearby, several inputs and outputs included: u^H G v, with the singular vectors of the peak, has the
same poles. Two samples gl, gr that enclose the peak at a distance theta = 2a < pi therefore prove

    g <= sqrt(gl^2 + gr^2 - 2 gl gr cos a) / sin a,

the diameter of the circle in which gl and gr, at an angle a, are chords of one corner; with all
poles at zero this is the FFT certificate. Intervals that could hold a peak above (1 + tolerance)
times the best sample are divided until none is left. Every figure carries its rounding error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ssmbench.analysis.phase_samples import (
    SMALLEST,
    Bank,
    Samples,
    bank_of,
    first_frequencies,
    joined,
    phase_distance,
    sample,
)
from ssmbench.linalg.precision import EPS
from ssmbench.systems import DiagonalSystem, DiscreteSystem

#: Samples for each pole at first: a mean distance of pi / 2 in phase.
_POINTS = 4
#: Pieces into which an interval is divided.
_PARTS = 4
#: Phase distance below which dividing an interval lowers the bound by less than 1e-5.
_FINEST = 0.01
#: Rounding error of a phase from which on samples prove nothing.
_COARSEST = 0.05
#: Parabolas fitted to a peak, each narrower than the one before.
_PARABOLAS = 3
#: The left and right ends of the intervals between samples (R, W).
_LEFT, _RIGHT = (slice(None), slice(None, -1)), (slice(None), slice(1, None))


@dataclass(frozen=True)
class Enclosure:
    """best (H,) <= peak gain <= bound (H,); best is reached, to rounding, at omega (H,)."""

    best: Tensor
    bound: Tensor
    omega: Tensor


def enclose(system: DiagonalSystem, tolerance: float) -> Enclosure:
    """The peak gain of every head of a finite, stable system in double precision, enclosed.

    bound <= (1 + tolerance) best unless rounding is larger: where modes cancel, and in discrete
    time with poles within 1e-11 of the circle.

    Args:
        system: bank of H heads; gradients are not recorded.
        tolerance: relative width of the enclosure.
    """
    bank, error = bank_of(system), _phase_error(system)
    samples, distance, certain = _first_samples(system, bank)
    certain = certain & (error < _COARSEST) & samples.above.isfinite().all(-1)
    found = _divide(bank, samples, distance, torch.where(certain, error, math.inf), tolerance)
    bound = torch.where(certain, found.bound, math.inf).minimum(triangle_bound(system))
    return Enclosure(found.best, torch.maximum(bound, found.best), found.omega)


def _first_samples(system: DiagonalSystem, bank: Bank) -> tuple[Samples, Tensor, Tensor]:
    """Samples (H, W), their distances in phase (H, W - 1), and whether these are certain, (H,).

    A distance is known modulo 4 pi. Together they must make up the whole circle: if they do, none
    is wrong, and if not, more samples bring them all below 4 pi.
    """
    total = bank.re.shape[1] * math.pi * (1 if system.is_real() else 2)
    for factor in (1, 2, 4, 8):
        samples = sample(bank, first_frequencies(system, factor * _POINTS))
        distance = phase_distance(samples[_LEFT], samples[_RIGHT], bank)
        complete = (distance.sum(-1) - total).abs() < 1
        if bool((complete | (_phase_error(system) >= _COARSEST)).all()):
            break
    return samples, distance, complete


def triangle_bound(system: DiagonalSystem) -> Tensor:
    """|D| + sum |c| |b| / (1 - |lam|), (H,): crude, but right at any pole."""
    sizes = torch.linalg.vector_norm(system.B, dim=-1) * torch.linalg.vector_norm(system.C, dim=-2)
    if isinstance(system, DiscreteSystem):
        distance = (1 - system.lam.abs() - 4 * EPS).clamp_min(0)
    else:
        distance = -system.lam.real
    shares = torch.where(sizes > 0, sizes / distance, 0.0).sum(-1) * (2 if system.conjugate else 1)
    feedthrough = torch.linalg.vector_norm(system.D, dim=(-2, -1))
    return (feedthrough + shares) * (1 + 8 * EPS * (system.order + 8))


def _phase_error(system: DiagonalSystem) -> Tensor:
    """What rounding may add to a phase distance, (H,)."""
    if not isinstance(system, DiscreteSystem):  # i omega - lam has no cancellation of its own
        smallest = system.lam.real.abs().amin(-1)
        error = torch.full_like(smallest, 128 * EPS * system.order)
        return torch.where(smallest > SMALLEST, error, math.inf)
    gap = system.gap_of(system.lam).amin(-1) - 4 * EPS
    return 16 * EPS * system.order * (4 + 1 / gap.clamp_min(EPS))


# --- division -----------------------------------------------------------------------------------


def _divide(
    bank: Bank, samples: Samples, distance: Tensor, errors: Tensor, tolerance: float
) -> Enclosure:
    """Divide the intervals between samples (H, W) until none can hide a higher peak.

    Heads are left alone whose phase has an infinite rounding error, of ``errors`` (H,).
    """
    first, index = samples.below.max(-1)
    found = _polished(bank, samples.omega.gather(1, index[:, None])[:, 0], first)
    best, omega, bound = found.best, found.omega, found.best.clone()
    rows = torch.arange(len(errors), device=errors.device)[:, None].expand_as(distance).flatten()
    left, right = (samples[ends].map(torch.flatten) for ends in (_LEFT, _RIGHT))
    distance = distance.flatten()
    known = errors[rows].isfinite()
    rows, left, right, distance = rows[known], left[known], right[known], distance[known]
    while len(rows):
        distance, error = distance.clamp_min(0), errors[rows]
        ceiling = _ceiling(left.above, right.above, distance + error)
        open_ = (ceiling > (1 + tolerance) * best[rows]) & (distance > _FINEST + 2 * error)
        bound = bound.scatter_reduce(0, rows[~open_], ceiling[~open_], "amax")
        rows, left, right = rows[open_], left[open_], right[open_]
        part = bank[rows]
        samples = _with_ends(left, right, sample(part, _inner_frequencies(left, right, part)))
        best, omega = _better(best, omega, rows, samples)
        distance = phase_distance(samples[_LEFT], samples[_RIGHT], bank).flatten()
        left, right = (samples[ends].map(torch.flatten) for ends in (_LEFT, _RIGHT))
        rows = rows.repeat_interleave(_PARTS)
    if bool((best > found.best).any()):  # a higher peak than the first, found on its slope
        found = _polished(bank, omega, best)
        best, omega = found.best, found.omega
    return Enclosure(best, torch.maximum(bound, best), omega)


def _ceiling(left: Tensor, right: Tensor, distance: Tensor) -> Tensor:
    """The highest peak that an interval can hide between two gains at a phase distance."""
    half = (distance / 2).clamp(1e-6, 1.57)
    low, high = torch.minimum(left, right), torch.maximum(left, right)
    sine, cosine = half.sin(), half.cos()
    diameter = ((high - low * cosine).square() / sine.square() + low.square()).sqrt()
    # A much lower end proves that the peak is not in between: cos falls slower than that.
    inside = torch.where(low >= high * cosine, diameter * (1 + 64 * EPS), high)
    return torch.where(distance < 3.14, torch.maximum(inside, high), math.inf)


def _inner_frequencies(left: Samples, right: Samples, bank: Bank) -> Tensor:
    """Frequencies (K, parts - 1) that divide intervals evenly in phase where one pole dominates.

    Its slope falls as 1 / x^2, so that 1 / sqrt(slope) is linear in omega; far from all poles, it
    is omega / sqrt(sum of the weights).
    """
    share = torch.arange(1, _PARTS, device=left.omega.device) / _PARTS
    low, high = left.slope.rsqrt()[:, None], right.slope.rsqrt()[:, None]
    step = share * low / ((1 - share) * high + share * low)
    inner = left.omega[:, None] + (right.omega - left.omega)[:, None] * step
    if bank.discrete:
        return inner
    reach = bank.weights[:, 0].sum(-1, keepdim=True).sqrt() * share / (1 - share)
    inner = torch.where(right.omega.isinf()[:, None], left.omega[:, None] + low * reach, inner)
    onward = right.omega[:, None] - high * reach.flip(-1)
    return torch.where(left.omega.isinf()[:, None], onward, inner)


def _with_ends(left: Samples, right: Samples, inner: Samples) -> Samples:
    column = [left[:, None], inner, right[:, None]]
    return joined(column, 1)


def _better(best: Tensor, omega: Tensor, rows: Tensor, samples: Samples) -> tuple[Tensor, Tensor]:
    """The best sample of every head, now that those of intervals of heads ``rows`` are known."""
    if not len(rows):
        return best, omega
    gain, index = samples.below.max(-1)
    raised = best.scatter_reduce(0, rows, gain, "amax")
    hit = (gain == raised[rows]) & (gain > best[rows])
    omega = omega.scatter(0, rows[hit], samples.omega.gather(1, index[:, None])[hit, 0])
    return raised, omega


def _polished(bank: Bank, start: Tensor, best: Tensor) -> Enclosure:
    """The gain ``best`` at ``start`` moved to the top of its peak by parabolas through three."""
    omega = torch.where(start.isfinite(), start, 0.0)[:, None]
    width = 0.3 / sample(bank, omega).slope
    steps = torch.tensor([-1.0, 0.0, 1.0], dtype=omega.dtype, device=omega.device)
    for _ in range(_PARABOLAS):
        low, middle, high = sample(bank, omega + width * steps).above.unbind(-1)
        bend = 2 * middle - low - high
        move = torch.where(bend > 0, (high - low) / (2 * bend), (high - low).sign())
        omega = omega + width * move.clamp(-1, 1)[:, None]
        width = 0.3 * width
    top = sample(bank, omega).below[:, 0]
    return Enclosure(torch.maximum(best, top), best, torch.where(top > best, omega[:, 0], start))
