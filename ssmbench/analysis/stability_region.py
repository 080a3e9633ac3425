"""What a one-step method does to poles and gains, computed from the method itself.

A *stability function* R maps points z = h lam (Z,), complex128, to what one step multiplies such a
mode by (Z,). A *method* maps a continuous system to a discrete one. No declared property
of either is assumed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Inexact
from torch import Tensor

from ssmbench.analysis.hinf import hinf_norm
from ssmbench.systems import (
    ContinuousDense,
    ContinuousDiagonal,
    ContinuousSystem,
    DiscreteSystem,
)

StabilityFunction = Callable[[Tensor], Tensor]
Method = Callable[[ContinuousSystem], DiscreteSystem]

#: |R| counts as above 1 beyond this: R itself is rounded to about 1e-15.
_ROUNDING = 1e-10
_EDGE = 1e-13  # where the place of a crossing is known already
#: Coefficients of R are compared with those of the exponential to this, up to this order.
_COEFFICIENT, _MAX_ORDER = 1e-9, 12
_RADIUS, _CIRCLE = 0.25, 64
#: Intervals are searched up to here, and steps up to here over the size of the poles.
_FAR = 1e6
_SMALL_STEP, _STEPS = 1e-9, 400
#: A discrete pole this far outside the circle may be rounding of one on it.
_POLE_ROUNDING = 1e-14


# --- the stability function ---------------------------------------------------------------------


def taylor_order(R: StabilityFunction) -> int | float:
    """The p of ``R(z) = e^z + O(z^(p+1))``, from R's Taylor coefficients; infinite beyond 12.

    The coefficients are those of a Fourier transform over a circle about zero, inside the poles.
    """
    angle = torch.arange(_CIRCLE, dtype=torch.float64) * (2 * math.pi / _CIRCLE)
    values = R(_RADIUS * torch.exp(1j * angle))
    coefficients = torch.fft.fft(values) / _CIRCLE
    for k in range(_MAX_ORDER + 1):
        # coefficient times radius^k is known to rounding, so the comparison is made there
        expected = _RADIUS**k / math.factorial(k)
        if abs(complex(coefficients[k]) - expected) > _COEFFICIENT * _RADIUS**k:
            return k - 1
    return math.inf


def stable_interval(R: StabilityFunction, direction: complex | float) -> float:
    """The largest r with ``|R(t direction)| <= 1`` for all t in [0, r]; infinite beyond 1e6.

    ``direction`` is -1 for the real stability interval, 1j for the imaginary one. Zero where
    ``|R|`` grows beyond 1 right from the origin, however slowly.
    """
    t = torch.logspace(-6, math.log10(_FAR), 24_000, dtype=torch.float64)
    outside = (_modulus(R, t * direction) > 1 + _ROUNDING).nonzero()
    if len(outside) == 0:
        return math.inf
    first = int(outside[0])
    high = t[first].item()
    if first == 0 or _grows_from_zero(R, direction, high):
        return 0.0
    low = t[first - 1].item()
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        unstable = _at(R, middle * direction) > 1 + _EDGE
        low, high = (low, middle) if unstable else (middle, high)
    return low


def _grows_from_zero(R: StabilityFunction, direction: complex | float, crossing: float) -> bool:
    """Whether |R| - 1 is still positive well before the point where it passes the rounding.

    A power law up to t^10 is still above 1e-13 at half the distance; |R| <= 1 is not.
    """
    return _at(R, crossing / 2 * direction) > 1 + _ROUNDING * 2**-11


def is_a_stable(R: StabilityFunction) -> bool:
    """Whether ``|R| <= 1`` on the left half-plane: on its boundary and, for poles, inside."""
    size = torch.logspace(-6, 6, 2_000, dtype=torch.float64)
    inside = torch.polar(size[::10, None], torch.linspace(0.5, 1.5, 61).double() * math.pi)
    inside = torch.complex(inside.real.clamp_max(0), inside.imag).flatten()
    z = torch.cat([1j * size, -1j * size, inside])
    return bool((_modulus(R, z) <= 1 + _ROUNDING).all())


def is_l_stable(R: StabilityFunction) -> bool:
    """A-stable, and R vanishes towards minus infinity."""
    return is_a_stable(R) and _at(R, -1e9) < 1e-6


def _modulus(R: StabilityFunction, z: Inexact[Tensor, " Z"]) -> Float[Tensor, " Z"]:
    """|R|, infinite where it is no number (a pole, or an overflow of a polynomial)."""
    return torch.nan_to_num(R(z.to(torch.complex128)).abs(), nan=math.inf)


def _at(R: StabilityFunction, z: complex | float) -> float:
    return float(_modulus(R, torch.tensor([z], dtype=torch.complex128)))


# --- the gain -----------------------------------------------------------------------------------


def resonators(
    omega: Float[Tensor, " H"], sigma: float = 0.02, h: float = 1.0, direct: float = 0.0
) -> ContinuousDiagonal:
    """Masses on springs, force in, position out: ``1 / (s^2 + 2 sigma s + omega^2) + direct``."""
    damped = (omega.square() - sigma**2).sqrt()
    ones = torch.ones(len(omega), 1, 1, dtype=torch.complex128)
    return ContinuousDiagonal(
        lam=torch.complex(torch.full_like(omega, -sigma), damped)[:, None],
        B=ones,
        C=-0.5j / damped[:, None, None] * ones,
        D=direct * ones.real,
        dt=torch.full_like(omega, h),
        conjugate=True,
    )


def gain_distortion(method: Method, system: ContinuousSystem) -> Float[Tensor, " H"]:
    """H-infinity norm of every discrete head over that of the continuous one; inf: unstable."""
    return hinf_norm(method(system)).norm / hinf_norm(system).norm


def resonator_distortion(method: Method) -> float:
    """:func:`gain_distortion` of the resonator with omega 1, sigma 0.02, at step size 1."""
    one = torch.ones(1, dtype=torch.float64)
    return float(gain_distortion(method, resonators(one)))


def preserves_gain(method: Method) -> bool:
    """Whether the gains of resonators with a direct part stay the same number, to 1e-8."""
    omega = torch.tensor([0.1, 0.5, 1.0, 2.0], dtype=torch.float64)
    ratio = gain_distortion(method, resonators(omega, direct=3.0))
    return bool((ratio - 1).abs().max() < 1e-8)


# --- the step size ------------------------------------------------------------------------------


def largest_stable_step(method: Method, system: ContinuousSystem) -> Float[Tensor, " H"]:
    """The largest step size of each head below which every step gives a stable discrete head.

    Infinite where no step up to 1e6 over the largest pole is too large; zero where the continuous
    head is unstable itself, or where no step above 1e-9 over the largest pole is stable. Computed
    in float64, to 1e-9 relative; where poles lie on the very edge, to what rounding leaves.
    """
    with torch.no_grad():
        system = _modes(system.detach().double())
        poles = system.poles()
        size = poles.abs().amax(-1).clamp_min(torch.finfo(torch.float64).tiny)
        steps = torch.logspace(math.log10(_SMALL_STEP), math.log10(_FAR), _STEPS).double()
        stable = torch.stack([_is_stable_at(method, system, s / size) for s in steps], -1)
        first = (~stable).float().argmax(-1)  # the first unstable step; 0 also where there is none
        low, high = steps[(first - 1).clamp_min(0)] / size, steps[first] / size
        for _ in range(40):
            middle = (low + high) / 2
            good = _is_stable_at(method, system, middle)
            low, high = torch.where(good, middle, low), torch.where(good, high, middle)
        low = torch.where(stable[:, 0], low, 0.0)
        low = torch.where(stable.all(-1), math.inf, low)
        return torch.where((poles.real < 0).all(-1), low, 0.0)


@dataclass(frozen=True)
class Instability:
    """The head that a method's step size makes most unstable."""

    heads: int
    of: int
    dt: float
    largest_stable_step: float
    spectral_radius: float

    @property
    def sentence(self) -> str:
        bank = f"{self.heads} of {self.of} stable systems" if self.of > 1 else "the stable system"
        return (
            f"step size {self.dt:.4g} makes {bank} unstable (spectral radius "
            f"{self.spectral_radius:.6g}); largest stable step {self.largest_stable_step:.4g}"
        )


def instability(method: Method, system: ContinuousSystem) -> Instability | None:
    """What the method makes unstable at the system's own step sizes; None where nothing is.

    Heads that are unstable in continuous time do not count: the method is not the cause.
    """
    with torch.no_grad():
        system = system.detach().double()
        radius = method(system).spectral_radius()
        lost = (radius >= 1 + _POLE_ROUNDING) & (system.spectral_abscissa() < 0)
        if not bool(lost.any()):
            return None
        limit = largest_stable_step(method, system)
        worst = int(torch.where(lost, limit / system.dt, math.inf).argmin())
        return Instability(
            heads=int(lost.sum()),
            of=system.heads,
            dt=float(system.dt[worst]),
            largest_stable_step=float(limit[worst]),
            spectral_radius=float(radius[worst]),
        )


def _modes(system: ContinuousSystem) -> ContinuousSystem:
    """A dense system's poles as a diagonal one: the same stability, without its eigenvalues anew.

    Every discretizer maps both alike, which the conformance kit checks.
    """
    if type(system) is not ContinuousDense:
        return system
    lam = system.poles()
    ones = torch.ones(*lam.shape, 1, dtype=lam.dtype)
    return ContinuousDiagonal(lam=lam, B=ones, C=ones.mT, D=ones[:, :1].real * 0, dt=system.dt)


def _is_stable_at(method: Method, system: ContinuousSystem, dt: Tensor) -> Bool[Tensor, " H"]:
    radius = method(dataclasses.replace(system, dt=dt)).spectral_radius()
    return radius <= 1 + _POLE_ROUNDING
