"""How fast a free state decays, with its overshoot, proved by a Lyapunov function.

If A^H P A <= r^2 P for some P > 0, then ||A^k|| <= M r^k for all k, with M the root of the
condition number of P; in continuous time, if A^H P + P A <= 2 s P, then ||e^{A t}|| <= M e^{s t}.
Both follow from x^H P x along the motion (Boyd, El Ghaoui, Feron, Balakrishnan 1994, Linear Matrix
Inequalities in System and Control Theory, section 5.1). P is found in floating point, in several
ways, and each inequality is proved by a Cholesky factorization with all rounding errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
import torch

from ssmbench.analysis.ball.exponential import exponential
from ssmbench.analysis.bounded_real import cholesky_succeeds
from ssmbench.analysis.scaling import FirstOrder
from ssmbench.analysis.stability import array, locate_poles
from ssmbench.linalg.lyapunov import lyapunov, stein
from ssmbench.linalg.precision import EPS
from ssmbench.systems import DiagonalSystem, DiscreteSystem

#: Covers the rounding of the few operations between proved numbers.
_SLACK = 1 + 1e-13
#: An overshoot so close to 1 is not made closer.
_CLOSE = 1.001
#: ||A|| times the step in which a continuous motion is followed.
_SHORT = 2.0**-6
#: Most powers that are followed, and most multiplications for them.
_LONGEST, _WORK = 4000, 2e8
#: Doublings of the time over which motions are observed.
_OBSERVED = 11


@dataclass(frozen=True)
class Decay:
    """``rate``: a factor per step, or in continuous time an exponent per unit of time; ||A^k|| <=
    ``overshoot`` rate^k, or ||e^{A t}|| <= overshoot e^(rate t). Infinite where nothing is
    proved."""

    rate: float
    overshoot: float

    @property
    def proved(self) -> bool:
        return math.isfinite(self.overshoot)

    def total(self, discrete: bool) -> float:
        """A bound on the sum of ||A^k|| over k >= 0, or on the integral of ||e^{A t}||."""
        margin = 1 - self.rate if discrete else -self.rate
        return self.overshoot / margin * _SLACK if self.proved and margin > 0 else math.inf


def decay(system: FirstOrder, slack: float) -> Decay:
    """A rate that the free state of one system (H = 1, double precision) keeps.

    Args:
        system: diagonal or dense, in either time domain; the norm is that of its coordinates, for
            conjugate pairs that of real and imaginary parts.
        slack: how much slower than the slowest mode the rate is, as a share of the distance of
            that mode to the stability boundary; the closer, the larger the overshoot. A diagonal
            system is normal, and needs none: its rate is exact and its overshoot 1.
    """
    poles = locate_poles(system)
    if isinstance(system, DiagonalSystem) or not system.states:
        return Decay(poles.extent.upper, 1.0)
    if not math.isfinite(poles.extent.upper):
        return Decay(poles.extent.upper, math.inf)
    discrete = isinstance(system, DiscreteSystem)
    A, worst = array(system.to_dense().A), poles.extent.upper
    boundary = 1.0 if discrete else 0.0
    rate = worst + slack * abs(boundary - worst)
    with np.errstate(all="ignore"):
        found = [overshoot(A, P, rate, discrete) for P in _functions(A, rate, discrete)]
        return _tightened(A, Decay(rate, min(found)), discrete)


def overshoot(A: np.ndarray, P: np.ndarray, rate: float, discrete: bool) -> float:
    """M of the decay with that rate that P proves; infinite where it proves none."""
    if not np.isfinite(P).all():
        return math.inf
    P = (P + P.conj().T) / 2
    gamma = 4 * (2 * len(A) + 16) * EPS
    adjoint, sizes = A.conj().T, abs(P)
    if discrete:
        M = rate**2 * P - adjoint @ (P @ A)
        E = gamma * (rate**2 * sizes + abs(adjoint) @ sizes @ abs(A))
    else:
        M = 2 * rate * P - adjoint @ P - P @ A
        E = gamma * (2 * abs(rate) * sizes + abs(adjoint) @ sizes + sizes @ abs(A))
    scale = float(np.linalg.norm(P))
    if not (scale > 0 and _positive(M, E, scale)):
        return math.inf
    low, high = _eigenvalue_bounds(P)
    return math.sqrt(high / low) * _SLACK if low > 0 else math.inf


def _functions(A: np.ndarray, rate: float, discrete: bool) -> list[np.ndarray]:
    """Candidates for P: I, the sum of the motion's energy, and that in coordinates of modes."""
    eye = np.eye(len(A))
    found = [eye]
    try:
        X = np.linalg.inv(np.linalg.eig(A)[1])
        P = X.conj().T @ X
        found.append(P if np.iscomplexobj(A) else P.real)
    except np.linalg.LinAlgError:
        pass
    given = A / rate if discrete and rate > 0 else A - rate * eye
    solve = stein if discrete else lyapunov
    matrix = torch.from_numpy(given.conj().T.copy())[None]
    found.append(solve(matrix, torch.eye(len(A), dtype=matrix.dtype)[None])[0].numpy())
    return found


def _positive(M: np.ndarray, E: np.ndarray, scale: float) -> bool:
    M = (M + M.conj().T) / 2
    given = (torch.from_numpy(np.ascontiguousarray(x / scale))[None] for x in (M, E + E.T))
    return bool(cholesky_succeeds(*given))


def _eigenvalue_bounds(P: np.ndarray) -> tuple[float, float]:
    """A proved lower bound on the least eigenvalue of P, and an upper bound on the largest."""
    values, vectors = np.linalg.eigh(P)
    size = len(P)
    residual = float(np.linalg.norm(P @ vectors - vectors * values))
    defect = float(np.linalg.norm(vectors.conj().T @ vectors - np.eye(size)))
    gamma = 8 * (size + 8) * EPS
    # Weyl, of V diag(values) V^H with V nearly unitary.
    error = residual + (2 * defect + gamma * size) * float(np.linalg.norm(P))
    return float(values[0]) - 2 * error, float(values[-1]) + 2 * error


# --- a closer overshoot -------------------------------------------------------------------------


@dataclass(frozen=True)
class _Step:
    """The motion over one step of length ``unit``, relative to a rate: ``matrix`` (N, N), the size
    of its ``error``, and what may be added ``between`` two steps."""

    matrix: np.ndarray
    error: float
    unit: float
    between: float


def _relative_step(A: np.ndarray, rate: float, discrete: bool) -> _Step:
    if discrete:
        return _Step(A / rate, 2 * EPS * float(np.linalg.norm(A)) / rate, 1.0, 1.0)
    shifted = A - rate * np.eye(len(A))
    size = float(np.linalg.norm(shifted, 2)) * _SLACK
    unit = 2.0 ** math.floor(math.log2(_SHORT / max(size, 1e-290)))
    matrix, errors = exponential(shifted, unit)
    rounding = 4 * EPS * (float(np.linalg.norm(A)) + abs(rate)) * unit
    return _Step(matrix, float(np.linalg.norm(errors)) + rounding, unit, math.exp(size * unit))


def _tightened(A: np.ndarray, found: Decay, discrete: bool) -> Decay:
    """The same rate with the overshoot of the powers themselves.

    Where ||A^K|| <= r^K, the overshoot is the largest of ||A^k|| / r^k for k < K. Powers are
    computed step by step; an error in one step is amplified by at most the overshoot that P proved.
    """
    if not found.proved or (discrete and not found.rate > 0) or found.overshoot <= _CLOSE:
        return found
    step = _relative_step(A, found.rate, discrete)
    sizes, settled = _power_norms(step, found.overshoot)
    closer = max(sizes) * step.between * _SLACK
    return replace(found, overshoot=min(found.overshoot, closer)) if settled else found


def _power_norms(step: _Step, amplified: float) -> tuple[list[float], bool]:
    """Upper bounds on the norms of the powers, the zeroth first, up to one that is at most 1, and
    whether there was one."""
    size = len(step.matrix)
    gamma = 8 * (size + 8) * EPS
    local = gamma * float(np.linalg.norm(step.matrix)) + step.error
    power, error, norms = np.eye(size, dtype=step.matrix.dtype), 0.0, [1.0]
    for _ in range(min(_LONGEST, max(int(_WORK / size**3), 1))):
        error += amplified * local * float(np.linalg.norm(power))
        power = step.matrix @ power
        norms.append(float(np.linalg.norm(power, 2)) * (1 + gamma) + error)
        if norms[-1] * step.between <= 1:
            return norms, True
        if not math.isfinite(norms[-1]):
            break
    return norms, False


# --- what is observed ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Motion:
    """Free motions of one system: the ``rate`` that one of them shows after the overshoot, and the
    largest ||x_k|| / (r^k ||x_0||) at the proved rate r."""

    rate: float
    overshoot: float


@np.errstate(all="ignore")
def worst_motion(A: np.ndarray, found: Decay, *, discrete: bool) -> Motion:
    """Motions from initial states that are singular vectors of powers of A, step by step."""
    if not len(A):
        return Motion(found.rate, 1.0)
    step, unit = (A, 1.0) if discrete else _sampled(A)
    factor = found.rate if discrete else math.exp(found.rate * unit)
    powers, largest, growth = step, 1.0, -math.inf
    for doubling in range(_OBSERVED):
        steps = 2**doubling
        if not np.isfinite(powers).all() or not powers.any():
            break
        ratios = _ratios(step / factor, np.linalg.svd(powers)[2][0].conj(), steps)
        largest = max(largest, float(ratios.max()))
        if ratios[-1] > 0:
            growth = max(growth, math.log(ratios[-1] / min(found.overshoot, 1e300)) / steps)
        powers = powers @ powers
    rate = math.exp(growth) * factor if discrete else found.rate + growth / unit
    return Motion(rate, largest)


def _sampled(A: np.ndarray) -> tuple[np.ndarray, float]:
    unit = 0.25 / max(float(np.linalg.norm(A, 2)), 1e-290)
    return scipy.linalg.expm(A * unit), unit


def _ratios(step: np.ndarray, x0: np.ndarray, count: int) -> np.ndarray:
    """||x_k|| / ||x_0|| for k = 1 .. count."""
    x, norms = x0 / np.linalg.norm(x0), np.empty(count)
    for k in range(count):
        x = step @ x
        norms[k] = np.linalg.norm(x)
    return np.nan_to_num(norms)
