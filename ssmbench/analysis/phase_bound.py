"""A rigorous upper bound on the peak gain of diagonal banks, from finitely many frequencies.

Between samples a rational function cannot rise freely. With the phase of its poles as the clock,

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

from ssmbench.linalg.precision import EPS
from ssmbench.linalg.singular_values import sigma_max_by_gram
from ssmbench.systems import DiagonalSystem, DiscreteSystem

POINTS = 4  # samples for each pole at first, a mean distance of pi / 2 in phase
PARTS = 4  # pieces of an interval in doubt
FINEST = 0.01  # phase below which dividing gains less than 1e-5
COARSEST = 0.05  # rounding of the phase that makes samples useless
POLISHING = 3
#: Squares of distances to poles, in the units of a system, lie between these squared.
SMALLEST, LARGEST = 1e-140, 1e150
GOLDEN = (math.sqrt(5) - 1) / 2
CHUNK = 2**16  # numbers of one temporary: half a megabyte, which stays in the cache
# The ends of the intervals between samples (R, W).
_LEFT, _RIGHT = (slice(None), slice(None, -1)), (slice(None), slice(1, None))


@dataclass(frozen=True)
class Enclosure:
    """best (H,) <= peak gain <= bound (H,); best is reached, to rounding, at omega (H,)."""

    best: Tensor
    bound: Tensor
    omega: Tensor


@dataclass(frozen=True)
class _Bank:
    """A stable bank, one row per head, conjugate modes written out.

    re, im (R, n) of the poles; B (R, n, m), C (R, p, n), D (R, p, m) complex; weights (R, 2, n):
    1 - |lam|^2 or -2 Re lam, and the size of a mode's share in the response times its rounding
    error, for each 1 / |z - lam|^2 (discrete) or 1 / |z - lam| (continuous). With one
    input or output, residues (R, 2, 2 p m, n) map the real and the imaginary part of the modes'
    responses to those of the channels, and feedthrough (R, 2 p m, 1) is D; else both are empty.
    """

    re: Tensor
    im: Tensor
    B: Tensor
    C: Tensor
    D: Tensor
    weights: Tensor
    residues: Tensor
    feedthrough: Tensor
    discrete: bool

    def __getitem__(self, index: Tensor | slice) -> _Bank:
        parts = {name: t[index] for name, t in vars(self).items() if name != "discrete"}
        return _Bank(**parts, discrete=self.discrete)


@dataclass(frozen=True)
class _Samples:
    """At frequencies omega (R, W): bounds on the gain, phase modulo 2 pi and its slope."""

    omega: Tensor
    below: Tensor
    above: Tensor
    phase: Tensor
    slope: Tensor

    def map(self, function) -> _Samples:
        fields = (self.omega, self.below, self.above, self.phase, self.slope)
        return _Samples(*map(function, fields))

    def __getitem__(self, index) -> _Samples:
        return self.map(lambda t: t[index])


def enclose(system: DiagonalSystem, tolerance: float, *, real: bool) -> Enclosure:
    """The peak gain of every head of a finite, stable system in double precision, enclosed.

    bound <= (1 + tolerance) best unless rounding is larger: where modes cancel, and in discrete
    time with poles within 1e-11 of the circle.

    Args:
        system: bank of H heads; gradients are not recorded.
        tolerance: relative width of the enclosure.
        real: whether non-negative frequencies suffice.
    """
    bank, blur = _bank(system), _phase_error(system)
    samples, distance, certain = _first_samples(system, bank, real)
    certain = certain & (blur < COARSEST)
    found = _divide(bank, samples, distance, torch.where(certain, blur, math.inf), tolerance)
    bound = torch.where(certain, found.bound, math.inf).minimum(triangle_bound(system))
    return Enclosure(found.best, torch.maximum(bound, found.best), found.omega)


def _first_samples(
    system: DiagonalSystem, bank: _Bank, real: bool
) -> tuple[_Samples, Tensor, Tensor]:
    """Samples (H, W), their distances in phase (H, W - 1), and whether these are certain, (H,).

    A distance is known modulo 4 pi. Together they must make up the whole circle: if they do, none
    is wrong, and if not, more samples bring them all below 4 pi.
    """
    total = bank.re.shape[1] * math.pi * (1 if real else 2)
    for factor in (1, 2, 4, 8):
        samples = _sample(bank, _first_frequencies(system, factor * POINTS, real))
        distance = _distance(samples[_LEFT], samples[_RIGHT], bank)
        complete = (distance.sum(-1) - total).abs() < 1
        if bool((complete | (_phase_error(system) >= COARSEST)).all()):
            break
    return samples, distance, complete


# --- preparation --------------------------------------------------------------------------------


def _bank(system: DiagonalSystem) -> _Bank:
    wide = torch.complex128
    B, C, D = (t.to(wide) for t in (system.B, system.C, system.D))
    if system.conjugate:
        B, C = torch.cat([B, B.conj()], 1), torch.cat([C, C.conj()], 2)
    poles = system.poles()
    sizes = torch.linalg.vector_norm(B, dim=-1) * torch.linalg.vector_norm(C, dim=-2)
    radii = poles.abs()
    # A share r / d has the error of its pole distance d, at most 4 EPS |r / d^2| (in continuous
    # time 4 EPS |r / d|), and those of products, quotient and sum, at most 3 (n + 10) EPS |r / d|
    # with 1 / |d| <= 2 / |d|^2.
    errors = (8 * sizes.shape[1] + 8 * max(B.shape[-1], C.shape[-2]) + 64) * EPS * sizes
    discrete = isinstance(system, DiscreteSystem)
    pace = (1 - radii) * (1 + radii) if discrete else -2 * poles.real
    weights = torch.stack([pace, errors], 1)
    re, im = poles.real.contiguous(), poles.imag.contiguous()
    return _Bank(re, im, B, C, D, weights, *_channels(B, C, D), discrete=discrete)


def _channels(B: Tensor, C: Tensor, D: Tensor) -> tuple[Tensor, Tensor]:
    """residues and feedthrough of a bank: 1 / (z - lam) = re - i im times r = (a + i b)."""
    if min(D.shape[1:]) > 1:
        return B.real[:, :0], B.real[:, :0]
    r = (C[:, :, None] * B.mT[:, None]).flatten(1, 2)  # (R, p m, n)
    on_re, on_im = torch.cat([r.real, r.imag], 1), torch.cat([r.imag, -r.real], 1)
    D = D.flatten(1)
    return torch.stack([on_re, on_im], 1), torch.cat([D.real, D.imag], 1)[:, :, None]


def _phase_error(system: DiagonalSystem) -> Tensor:
    """What rounding may add to a phase distance, (H,)."""
    if not isinstance(system, DiscreteSystem):  # i omega - lam has no cancellation of its own
        smallest = system.lam.real.abs().amin(-1)
        error = torch.full_like(smallest, 128 * EPS * system.order)
        return torch.where(smallest > SMALLEST, error, math.inf)
    distance = (1 - system.lam.abs()).amin(-1) - 4 * EPS
    return 16 * EPS * system.order * (4 + 1 / distance.clamp_min(EPS))


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


def _first_frequencies(system: DiagonalSystem, points: int, real: bool) -> Tensor:
    """Ascending frequencies (H, W), about equally far apart in phase, with both ends.

    Each pole gets its own equidistant phases, 2 atan((1+rho)/(1-rho) tan((omega - angle) / 2)),
    shifted against those of its neighbours by the golden ratio: so coinciding poles share them out.
    In continuous time they are Im lam + Re lam tan(phase / 2), and the ends are infinite.
    """
    lam, discrete = system.lam.to(torch.complex128), isinstance(system, DiscreteSystem)
    order = (lam.angle() if discrete else lam.imag).sort(-1)
    radius = lam.abs().gather(1, order.indices)
    rank = torch.arange(lam.shape[1], dtype=torch.float64, device=lam.device)
    shift = (rank * GOLDEN % 1)[:, None] + torch.arange(points, device=lam.device)
    tangent = (math.pi * (shift / points - 0.5)).tan()
    if discrete:
        ratio = ((1 - radius) / (1 + radius))[:, :, None]
        omega = (order.values[:, :, None] + 2 * (ratio * tangent).atan()).flatten(1)
        omega = torch.remainder(omega + math.pi, 2 * math.pi) - math.pi
    else:
        widths = lam.real.abs().gather(1, order.indices)[:, :, None]
        omega = (order.values[:, :, None] + widths * tangent).flatten(1)
    omega = omega.abs() if real else omega
    limit = math.pi if discrete else math.inf
    ends = torch.full_like(omega[:, :1], limit)
    start = torch.zeros_like(ends) if real else -ends
    return torch.cat([start, omega.clamp(-limit, limit), ends], -1).sort(-1).values


# --- evaluation ---------------------------------------------------------------------------------


def _sample(bank: _Bank, omega: Tensor) -> _Samples:
    """Everything that a frequency tells, for omega (R, W), in pieces of bounded memory."""
    (rows, width), modes = omega.shape, bank.re.shape[1] * max(bank.D.shape[1:])
    if rows * width * modes <= CHUNK:
        return _sample_piece(bank, omega)
    if rows > 1:
        step = max(1, CHUNK // (width * modes))
        starts = range(0, rows, step)
        pieces = [_sample_piece(bank[i : i + step], omega[i : i + step]) for i in starts]
        return _joined(pieces, 0)
    pieces = [_sample_piece(bank, part) for part in omega.split(max(1, CHUNK // modes), 1)]
    return _joined(pieces, 1)


def _joined(pieces: list[_Samples], dim: int) -> _Samples:
    names = ("omega", "below", "above", "phase", "slope")
    return _Samples(*(torch.cat([getattr(p, name) for p in pieces], dim) for name in names))


def _sample_piece(bank: _Bank, omega: Tensor) -> _Samples:
    # Real arithmetic, in place, frequencies last: several times faster than complex tensors.
    if bank.discrete:
        re = omega.cos()[:, None] - bank.re[:, :, None]
        im = omega.sin()[:, None] - bank.im[:, :, None]
    else:
        im = omega.clamp(-LARGEST, LARGEST)[:, None] - bank.im[:, :, None]
        re = -bank.re[:, :, None].expand_as(im).contiguous()
    square = (re * re).addcmul_(im, im).reciprocal_()  # 1 / |z - lam|^2, (R, n, W)
    if bank.discrete:
        slope, error = (bank.weights @ square).unbind(1)
    else:
        slope = (bank.weights[:, :1] @ square)[:, 0]
        error = (bank.weights[:, 1:] @ square.sqrt())[:, 0]
    phase = _phase(re, im, square)
    gain = _gain(bank, re.mul_(square), im.mul_(square))
    final = 8 * EPS * math.prod(bank.D.shape[1:])  # of adding D and of the singular value
    error = error + final * (gain + bank.D.abs().sum((-2, -1))[:, None])
    return _Samples(omega, (gain - error).clamp_min(0), gain + error, phase, slope)


def _phase(re: Tensor, im: Tensor, square: Tensor) -> Tensor:
    """arg prod(z - lam), (R, W)."""
    product = torch.complex(re, im).prod(1)
    sizes = product.abs()
    if not bool(((sizes > 1e-290) & (sizes < 1e290)).all()):  # many poles close, or far: normalise
        inverse = square.sqrt()
        product = torch.complex(re * inverse, im * inverse).prod(1)
    return product.angle()


def _gain(bank: _Bank, re: Tensor, im: Tensor) -> Tensor:
    """sigma_max of C diag(re - i im) B + D, (R, W), for re and im (R, n, W)."""
    if min(bank.D.shape[1:]) == 1:
        G = bank.residues[:, 0] @ re + bank.residues[:, 1] @ im + bank.feedthrough
        return torch.linalg.vector_norm(G, dim=1)
    modes = torch.complex(re, -im).mT[:, :, None]
    return sigma_max_by_gram((bank.C[:, None] * modes) @ bank.B[:, None] + bank.D[:, None])


def _distance(left: _Samples, right: _Samples, bank: _Bank) -> Tensor:
    """Phase distance, in [-1, 4 pi - 1): theta is 2 arg prod(z - lam), less n omega on a circle."""
    step = 2 * (right.phase - left.phase)
    if bank.discrete:
        step = step - bank.re.shape[1] * (right.omega - left.omega)
    return torch.remainder(step + 1, 4 * math.pi) - 1


# --- division -----------------------------------------------------------------------------------


def _divide(
    bank: _Bank, samples: _Samples, distance: Tensor, blur: Tensor, tolerance: float
) -> Enclosure:
    """Divide the intervals between samples (H, W) until none can hide a higher peak.

    Heads of infinite ``blur`` (H,), the rounding error of a phase, are left alone.
    """
    first, index = samples.below.max(-1)
    found = _polished(bank, samples.omega.gather(1, index[:, None])[:, 0], first)
    best, omega, bound = found.best, found.omega, found.best.clone()
    rows = torch.arange(len(blur), device=blur.device)[:, None].expand_as(distance).flatten()
    left, right = (samples[ends].map(torch.flatten) for ends in (_LEFT, _RIGHT))
    distance = distance.flatten()
    known = blur[rows].isfinite()
    rows, left, right, distance = rows[known], left[known], right[known], distance[known]
    while len(rows):
        distance, error = distance.clamp_min(0), blur[rows]
        ceiling = _ceiling(left.above, right.above, distance + error)
        open_ = (ceiling > (1 + tolerance) * best[rows]) & (distance > FINEST + 2 * error)
        bound = bound.scatter_reduce(0, rows[~open_], ceiling[~open_], "amax")
        rows, left, right = rows[open_], left[open_], right[open_]
        part = bank[rows]
        samples = _with_ends(left, right, _sample(part, _inner_frequencies(left, right, part)))
        best, omega = _better(best, omega, rows, samples)
        distance = _distance(samples[_LEFT], samples[_RIGHT], bank).flatten()
        left, right = (samples[ends].map(torch.flatten) for ends in (_LEFT, _RIGHT))
        rows = rows.repeat_interleave(PARTS)
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


def _inner_frequencies(left: _Samples, right: _Samples, bank: _Bank) -> Tensor:
    """Frequencies (K, PARTS - 1) that divide intervals evenly in phase, if one pole rules them.

    Its slope falls as 1 / x^2, so that 1 / sqrt(slope) is linear in omega; far from all poles, it
    is omega / sqrt(sum of the weights).
    """
    share = torch.arange(1, PARTS, device=left.omega.device) / PARTS
    low, high = left.slope.rsqrt()[:, None], right.slope.rsqrt()[:, None]
    step = share * low / ((1 - share) * high + share * low)
    inner = left.omega[:, None] + (right.omega - left.omega)[:, None] * step
    if bank.discrete:
        return inner
    reach = bank.weights[:, 0].sum(-1, keepdim=True).sqrt() * share / (1 - share)
    inner = torch.where(right.omega.isinf()[:, None], left.omega[:, None] + low * reach, inner)
    onward = right.omega[:, None] - high * reach.flip(-1)
    return torch.where(left.omega.isinf()[:, None], onward, inner)


def _with_ends(left: _Samples, right: _Samples, inner: _Samples) -> _Samples:
    column = [left[:, None], inner, right[:, None]]
    return _joined(column, 1)


def _better(best: Tensor, omega: Tensor, rows: Tensor, samples: _Samples) -> tuple[Tensor, Tensor]:
    """The best sample of every head, now that those of intervals of heads ``rows`` are known."""
    if not len(rows):
        return best, omega
    gain, index = samples.below.max(-1)
    raised = best.scatter_reduce(0, rows, gain, "amax")
    hit = (gain == raised[rows]) & (gain > best[rows])
    omega = omega.scatter(0, rows[hit], samples.omega.gather(1, index[:, None])[hit, 0])
    return raised, omega


def _polished(bank: _Bank, start: Tensor, best: Tensor) -> Enclosure:
    """The gain ``best`` at ``start`` moved to the top of its peak by parabolas through three."""
    omega = torch.where(start.isfinite(), start, 0.0)[:, None]
    width = 0.3 / _sample(bank, omega).slope
    steps = torch.tensor([-1.0, 0.0, 1.0], dtype=omega.dtype, device=omega.device)
    for _ in range(POLISHING):
        low, middle, high = _sample(bank, omega + width * steps).above.unbind(-1)
        bend = 2 * middle - low - high
        move = torch.where(bend > 0, (high - low) / (2 * bend), (high - low).sign())
        omega = omega + width * move.clamp(-1, 1)[:, None]
        width = 0.3 * width
    top = _sample(bank, omega).below[:, 0]
    return Enclosure(torch.maximum(best, top), best, torch.where(top > best, omega[:, 0], start))
