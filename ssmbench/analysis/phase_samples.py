"""The gain and the phase of diagonal banks at sampled frequencies, with bounds on their rounding.

For what the phase is, see ``phase_bound``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ssmbench.linalg.precision import EPS
from ssmbench.linalg.singular_values import sigma_max_by_gram
from ssmbench.systems import DiagonalSystem, DiscreteSystem

#: Squares of distances to poles, in the units of a system, lie between these squared.
SMALLEST, LARGEST = 1e-140, 1e150
_GOLDEN = (math.sqrt(5) - 1) / 2
#: Numbers of one temporary: half a megabyte, which stays in the cache.
_CHUNK = 2**16


@dataclass(frozen=True)
class Bank:
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

    def __getitem__(self, index: Tensor | slice) -> Bank:
        parts = {name: t[index] for name, t in vars(self).items() if name != "discrete"}
        return Bank(**parts, discrete=self.discrete)


@dataclass(frozen=True)
class Samples:
    """At frequencies omega (R, W): bounds on the gain, phase modulo 2 pi and its slope."""

    omega: Tensor
    below: Tensor
    above: Tensor
    phase: Tensor
    slope: Tensor

    def map(self, function) -> Samples:
        fields = (self.omega, self.below, self.above, self.phase, self.slope)
        return Samples(*map(function, fields))

    def __getitem__(self, index) -> Samples:
        return self.map(lambda t: t[index])


def bank_of(system: DiagonalSystem) -> Bank:
    """The bank of a stable system in double precision."""
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
    return Bank(re, im, B, C, D, weights, *_channels(B, C, D), discrete=discrete)


def _channels(B: Tensor, C: Tensor, D: Tensor) -> tuple[Tensor, Tensor]:
    """residues and feedthrough of a bank: 1 / (z - lam) = re - i im times r = (a + i b)."""
    if min(D.shape[1:]) > 1:
        return B.real[:, :0], B.real[:, :0]
    r = (C[:, :, None] * B.mT[:, None]).flatten(1, 2)  # (R, p m, n)
    on_re, on_im = torch.cat([r.real, r.imag], 1), torch.cat([r.imag, -r.real], 1)
    D = D.flatten(1)
    return torch.stack([on_re, on_im], 1), torch.cat([D.real, D.imag], 1)[:, :, None]


def first_frequencies(system: DiagonalSystem, points: int) -> Tensor:
    """Ascending frequencies (H, W), about equally far apart in phase, with both ends.

    Each pole gets its own equidistant phases, 2 atan((1+rho)/(1-rho) tan((omega - angle) / 2)),
    shifted against those of its neighbours by the golden ratio, so that poles that coincide get
    different ones.
    In continuous time they are Im lam + Re lam tan(phase / 2), and the ends are infinite.
    """
    lam, discrete = system.lam.to(torch.complex128), isinstance(system, DiscreteSystem)
    order, real = system.frequency_of(lam).sort(-1), system.is_real()
    radius = lam.abs().gather(1, order.indices)
    rank = torch.arange(lam.shape[1], dtype=torch.float64, device=lam.device)
    shift = (rank * _GOLDEN % 1)[:, None] + torch.arange(points, device=lam.device)
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


def sample(bank: Bank, omega: Tensor) -> Samples:
    """The samples at frequencies omega (R, W), computed in pieces of bounded memory."""
    (rows, width), modes = omega.shape, bank.re.shape[1] * max(bank.D.shape[1:])
    if rows * width * modes <= _CHUNK:
        return _sample_piece(bank, omega)
    if rows > 1:
        step = max(1, _CHUNK // (width * modes))
        starts = range(0, rows, step)
        pieces = [_sample_piece(bank[i : i + step], omega[i : i + step]) for i in starts]
        return joined(pieces, 0)
    pieces = [_sample_piece(bank, part) for part in omega.split(max(1, _CHUNK // modes), 1)]
    return joined(pieces, 1)


def joined(pieces: list[Samples], dim: int) -> Samples:
    """Samples of several heads (dimension 0) or frequencies (dimension 1) together."""
    names = ("omega", "below", "above", "phase", "slope")
    return Samples(*(torch.cat([getattr(p, name) for p in pieces], dim) for name in names))


def _sample_piece(bank: Bank, omega: Tensor) -> Samples:
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
    below = torch.nan_to_num((gain - error).clamp_min(0), nan=0.0, posinf=math.inf)
    above = torch.nan_to_num(gain + error, nan=math.inf, posinf=math.inf)
    return Samples(omega, below, above, phase, slope)


def _phase(re: Tensor, im: Tensor, square: Tensor) -> Tensor:
    """arg prod(z - lam), (R, W)."""
    product = torch.complex(re, im).prod(1)
    sizes = product.abs()
    if not bool(((sizes > 1e-290) & (sizes < 1e290)).all()):  # many poles close, or far: normalise
        inverse = square.sqrt()
        product = torch.complex(re * inverse, im * inverse).prod(1)
    return product.angle()


def _gain(bank: Bank, re: Tensor, im: Tensor) -> Tensor:
    """sigma_max of C diag(re - i im) B + D, (R, W), for re and im (R, n, W)."""
    if min(bank.D.shape[1:]) == 1:
        G = bank.residues[:, 0] @ re + bank.residues[:, 1] @ im + bank.feedthrough
        return torch.linalg.vector_norm(G, dim=1)
    modes = torch.complex(re, -im).mT[:, :, None]
    return sigma_max_by_gram((bank.C[:, None] * modes) @ bank.B[:, None] + bank.D[:, None])


def phase_distance(left: Samples, right: Samples, bank: Bank) -> Tensor:
    """Phase distance, in [-1, 4 pi - 1). The phase is 2 arg prod(z - lam), less n omega in discrete
    time."""
    step = 2 * (right.phase - left.phase)
    if bank.discrete:
        step = step - bank.re.shape[1] * (right.omega - left.omega)
    return torch.remainder(step + 1, 4 * math.pi) - 1
