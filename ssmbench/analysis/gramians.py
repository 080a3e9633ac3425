"""Gramians of stable systems, as factors and in closed form."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float, Inexact
from torch import Tensor

from ssmbench.linalg.lyapunov import gramian_factor
from ssmbench.systems import DenseSystem, DiscreteSystem

_SPLITTER = 2.0**27 + 1


def controllability_factor(system: DenseSystem) -> Inexact[Tensor, "H N r"]:
    """L with the controllability Gramian X = L L^H of every head: A X A^H - X + B B^H = 0, or
    A X + X A^H + B B^H = 0 in continuous time. The matrices have one dtype; all poles are stable.
    """
    return gramian_factor(system.A, system.B, discrete=isinstance(system, DiscreteSystem))


def observability_factor(system: DenseSystem) -> Inexact[Tensor, "H N r"]:
    """M with the observability Gramian Y = M M^H of every head: the controllability Gramian of
    (A^H, C^H)."""
    return gramian_factor(system.A.mH, system.C.mH, discrete=isinstance(system, DiscreteSystem))


def gramian_denominators(
    lam: Complex[Tensor, "H n"], *, discrete: bool
) -> Complex[Tensor, "H n n"]:
    """1 - lam_i conj(lam_j), or -(lam_i + conj(lam_j)) in continuous time, without cancellation.

    The controllability Gramian of a diagonal system is ``X_ij = b_i b_j^H`` over them.
    """
    if not discrete:
        return -(lam[:, :, None] + lam[:, None, :].conj())
    # With d = lam_i - lam_j, exact when small: the imaginary part is -Im(d conj(lam_j)), and twice
    # the real part (1 - |lam_i|^2) + (1 - |lam_j|^2) + |d|^2, three positive numbers.
    deficit = one_minus_square(lam)
    d = lam[:, :, None] - lam[:, None, :]
    distance = d.real.square() + d.imag.square()
    real = (deficit[:, :, None] + deficit[:, None, :] + distance) / 2
    imag = d.real * lam.imag[:, None, :] - d.imag * lam.real[:, None, :]
    return torch.complex(real, imag)


def one_minus_square(lam: Complex[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """1 - |lam|^2, to full relative precision for any complex128 number as close to the circle.

    Squares are split exactly into head and tail (Dekker 1971, Numer. Math. 18:224); near the circle
    the heads cancel without rounding.
    """
    large = torch.maximum(lam.real.abs(), lam.imag.abs())
    small = torch.minimum(lam.real.abs(), lam.imag.abs())
    return ((1 - large * large) - small * small) - (_tail(large) + _tail(small))


def _tail(x: Tensor) -> Tensor:
    """x^2 less its rounded value, exactly."""
    high = _SPLITTER * x - (_SPLITTER * x - x)
    low = x - high
    return ((high * high - x * x) + 2 * high * low) + low * low
