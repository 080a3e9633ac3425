"""Where the poles of each system of a batch lie, and on which side of the boundary: proved."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from torch import Tensor

from ssmbench.analysis import ball, dense_proofs
from ssmbench.analysis.interval import INFINITE, Interval, around
from ssmbench.analysis.scaling import F, FirstOrder
from ssmbench.systems import DiagonalSystem, DiscreteSystem

#: States up to which poles that float64 leaves open are enclosed in ball arithmetic.
LARGEST_IN_BALLS = 64
#: Relative width of an enclosure that float64 may leave.
_SHARP = 1e-6


@dataclass(frozen=True)
class Poles:
    """The spectral radius or abscissa enclosed, and whether the system is stable; None: open."""

    extent: Interval
    stable: bool | None


def heads_of(system: F) -> Iterator[F]:
    """The systems of a batch, one by one."""
    return (system.head(index) for index in range(system.heads))


def locate_poles(system: FirstOrder) -> Poles:
    """The poles of one system (H = 1) in double precision."""
    if not system.is_finite():
        return Poles(INFINITE, False)
    discrete = isinstance(system, DiscreteSystem)
    if not system.states:
        return Poles(Interval(0.0, 0.0) if discrete else Interval(-math.inf, -math.inf), True)
    if isinstance(system, DiagonalSystem):
        return _of_modes(system.lam[0].tolist(), discrete)
    A = array(system.to_dense().A)
    extent = dense_proofs.enclose_extent(A, discrete=discrete)
    stable = _side(extent, 1.0 if discrete else 0.0)
    size = max(1.0, abs(extent.upper)) if discrete else float(np.linalg.norm(A, 2))
    sharp = extent.is_within(_SHARP * size) and stable is not None
    if sharp or system.states > LARGEST_IN_BALLS:
        return Poles(extent, stable)
    nothing = np.zeros((len(A), 0)), np.zeros((0, len(A))), np.zeros((0, 0))
    found = ball.poles(ball.BallSystem.of(A, *nothing, discrete=discrete))
    return Poles(found.extent, found.stable)


def array(matrices: Tensor) -> np.ndarray:
    """The matrix of the first head as a numpy array."""
    return matrices[0].detach().cpu().resolve_conj().resolve_neg().numpy()


def inside_circle(z: complex | float) -> bool:
    """Whether |z| < 1, exactly."""
    if abs(abs(z) - 1) > 1e-12:
        return abs(z) < 1
    return Fraction(z.real) ** 2 + Fraction(z.imag) ** 2 < 1


def _of_modes(modes: list[complex] | list[float], discrete: bool) -> Poles:
    if discrete:
        radius = max(map(abs, modes))
        return Poles(around(radius, 2 * math.ulp(radius)), all(map(inside_circle, modes)))
    abscissa = max(complex(z).real for z in modes)
    return Poles(Interval(abscissa, abscissa), abscissa < 0)


def _side(extent: Interval, boundary: float) -> bool | None:
    if extent.upper < boundary:
        return True
    return False if extent.lower >= boundary else None
