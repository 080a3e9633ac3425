"""H2 norm: the root of the impulse response's energy, summed over inputs and outputs.

For white noise of unit intensity at the input it is the root mean square of the output.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.analysis.hinf import balanced, silenced, usable_copies
from ssmbench.analysis.lyapunov import lyapunov, stein
from ssmbench.systems import ContinuousSystem, DiagonalSystem, DiscreteSystem, LinearSystem

_SPLITTER = 2.0**27 + 1


def h2_norm(system: LinearSystem) -> Float[Tensor, " H"]:
    """H2 norm of every copy of a bank: sqrt(sum_t ||h_t||_F^2), or the integral in continuous time.

    Computed from the controllability Gramian X: ||D||_F^2 + trace(C X C^H). Differentiable.

    Args:
        system: dense or diagonal, continuous (step size ignored) or discrete; any float dtype.

    Returns:
        (H,) float64; infinite for copies that are unstable, hold an entry that is not finite, or
        are continuous with D != 0 (whose impulse response holds an impulse); never NaN.

    Source: Zhou, Doyle & Glover (1996), Robust and Optimal Control, section 4.7; in closed form for
        diagonal systems, X_ij = b_i b_j^H / (1 - lam_i conj(lam_j)).
    """
    system = balanced(system.double())
    usable = usable_copies(system.detach())
    continuous = isinstance(system, ContinuousSystem)
    if continuous:
        usable = usable & ~(system.D.detach().abs().amax((-2, -1)) > 0)
    safe = silenced(system, usable)
    energy = _diagonal_energy(safe) if isinstance(safe, DiagonalSystem) else _dense_energy(safe)
    if not continuous:
        energy = energy + safe.D.abs().square().sum((-2, -1))
    moves = energy > 0  # the root has no derivative at zero
    norm = torch.where(moves, torch.where(moves, energy, 1.0).sqrt(), 0.0)
    return torch.where(usable, torch.nan_to_num(norm, nan=math.inf, posinf=math.inf), math.inf)


def _dense_energy(system: LinearSystem) -> Tensor:
    """trace(C X C^H), (H,)."""
    tensors = (system.A, system.B, system.C)
    dtype = torch.complex128 if any(t.is_complex() for t in tensors) else torch.float64
    A, B, C = (t.to(dtype) for t in tensors)
    solve = stein if isinstance(system, DiscreteSystem) else lyapunov
    X = solve(A, B @ B.mH)
    return (C.conj() * (C @ X.mH)).sum((-2, -1)).real


def _diagonal_energy(system: DiagonalSystem) -> Tensor:
    """sum_ij (C^H C)_ij^* X_ij, (H,), over all modes, conjugates spelt out."""
    lam, B, C = (t.to(torch.complex128) for t in (system.lam, system.B, system.C))
    if system.conjugate:
        lam, B = torch.cat([lam, lam.conj()], 1), torch.cat([B, B.conj()], 1)
        C = torch.cat([C, C.conj()], 2)
    products = (B @ B.mH) * (C.mT @ C.conj())
    return (products / _denominators(lam, isinstance(system, DiscreteSystem))).sum((-2, -1)).real


def _denominators(lam: Tensor, discrete: bool) -> Tensor:
    """1 - lam_i conj(lam_j), or -(lam_i + conj(lam_j)), (H, n, n), without cancellation."""
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


def one_minus_square(lam: Tensor) -> Tensor:
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
