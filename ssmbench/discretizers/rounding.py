"""Rounding of discretized systems such that no pole crosses the unit circle.

A computed pole very close to the circle does not show on which side it lies: e^z rounds to 1 for
|z| < 1e-16, and in float32 for |z| < 3e-8. The side is therefore taken from ``loss`` = 1 -
abs(lam)^2, computed from R(z) - 1.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Float64, Inexact
from torch import Tensor

from ssmbench.linalg.precision import straight_through
from ssmbench.systems import DiscreteDiagonal

_WIDE = (torch.float64, torch.complex128)
#: Several roundings of float64, relative to abs(R - 1)^2, and absolute.
_NOISE = 2.0**-50
_SLACK = 2.0**-48
#: A pole that was moved inwards keeps its gain as long as B is scaled by no more than this.
_LARGEST_SCALE = 2.0


def is_wide(*tensors: Tensor) -> bool:
    """Whether any of the tensors is in double precision, so that the discrete system is too."""
    return any(t.dtype in _WIDE for t in tensors)


@torch.no_grad()
def loss_per_step(
    increment: Inexact[Tensor, "H N"], z: Inexact[Tensor, "H N"]
) -> Float64[Tensor, "H N"]:
    """1 - |R(z)|^2 from ``increment`` = R(z) - 1, with the right sign, 0 where nothing is lost.

    With w = R(z) - 1, the sum ``2 Re w + |w|^2`` has a rounding error of about abs(w)^2 2^-52.
    Where that hides its sign, the sign of -Re z is taken, which is right for every method that maps
    the imaginary axis onto the unit circle.
    """
    w, growth = increment, z.real.sign()
    size = w.abs().square()
    loss = -(2 * w.real + size)
    noise = _NOISE * size
    hidden = (loss.abs() <= noise) & (size < 9)  # a stable R - 1 is at most 2 in modulus
    return torch.where(hidden, -growth * noise, torch.nan_to_num(loss, nan=-torch.inf))


def rounded(system: DiscreteDiagonal, loss: Float64[Tensor, "H N"], wide: bool) -> DiscreteDiagonal:
    """The system in float32 and complex64, or in double precision if ``wide``; see :func:`placed`.

    Rounding moves a pole's distance to the circle, and with it the mode's gain: by 6% at 1 - |lam|
    = 1e-6. So B is scaled by (1 - |rounded|^2) / (1 - |lam|^2), a number near 1 that counts as
    constant in gradients, and the mode keeps its gain. Where that number exceeds 2, the precision
    cannot hold the pole: it lies further inside, and B stays, so that the response is the same for
    as many steps as the precision resolves, and the gain over an infinite horizon is smaller. A
    bound proved by a diagonal storage function (a contraction [A, B; C, D] in scaled coordinates)
    still holds: each mode's row of A and B is multiplied by a number of modulus at most one.
    """
    exact = system.lam.detach()
    lam = placed(exact, loss, torch.float64 if wide else torch.float32)
    kept = _loss(lam)
    scaled = (loss > 0) & (kept <= _LARGEST_SCALE * loss) & (not wide)
    scale = torch.where(scaled, kept / torch.where(scaled, loss, 1), 1)
    moved = replace(
        system,
        lam=straight_through(system.lam, lam),
        B=system.B * scale[..., None].to(system.B.dtype),
    )
    return moved if wide else moved.single()


def placed(
    lam: Inexact[Tensor, "H N"], loss: Float64[Tensor, "H N"], dtype: torch.dtype
) -> Inexact[Tensor, "H N"]:
    """lam rounded to ``dtype`` but returned in double precision, inside the unit circle exactly
    where loss > 0.

    ``dtype`` is float32 or float64; for complex lam, that of the real and imaginary parts.
    """
    parts = _parts(lam)
    nearest = _joined(parts.to(dtype).double(), lam)
    inside = (_loss(nearest) > 0) & (nearest.abs() < 1)
    inward, outward = (
        _joined(parts.sign() * direction(parts.abs(), dtype).double(), lam)
        for direction in (rounded_down, rounded_up)
    )
    stable = loss > 0
    moved = torch.where(stable, inward, outward)
    return torch.where(stable == inside, nearest, moved)


def _loss(lam: Tensor) -> Tensor:
    """1 - |lam|^2; exact where float32 holds the real and imaginary parts exactly."""
    return (1 - lam.real) * (1 + lam.real) - (lam.imag.square() if lam.is_complex() else 0)


def _parts(lam: Tensor) -> Tensor:
    return torch.view_as_real(lam) if lam.is_complex() else lam


def _joined(parts: Tensor, like: Tensor) -> Tensor:
    return torch.view_as_complex(parts) if like.is_complex() else parts


def rounded_up(x: Float64[Tensor, "*shape"], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
    """x >= 0 plus a few roundings, rounded up to the next number of the dtype."""
    x = x + _SLACK
    nearest = x.to(dtype)
    above = torch.nextafter(nearest, torch.full_like(nearest, torch.inf))
    return torch.where(nearest.double() < x, above, nearest)


def rounded_down(x: Float64[Tensor, "*shape"], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
    """x >= 0 minus a few roundings, rounded down to the next number of the dtype, at least 0."""
    x = (x - _SLACK).clamp_min(0)
    nearest = x.to(dtype)
    below = torch.nextafter(nearest, torch.zeros_like(nearest))
    return torch.where(nearest.double() > x, below, nearest)
