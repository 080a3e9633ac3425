"""The H-infinity norm of a system, enclosed."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import flint
from flint import acb, acb_mat, arb, fmpq_mat, fmpq_poly

from ssmbench.analysis.ball.norms import gain_reached, identity, norm_bound
from ssmbench.analysis.ball.system import (
    PRECISIONS,
    TOLERANCE,
    BallSystem,
    M,
    at_growing_precision,
    has_no_response,
    is_small,
    is_zero,
    rational,
    real_rational,
    rescaled,
)
from ssmbench.analysis.interval import Interval

#: Rounds of the level-set method at one precision.
ROUNDS = 30
#: States up to which a level is tested in rational numbers.
LARGEST_EXACT_LEVEL = 12


@dataclass(frozen=True)
class Peak:
    """The norm enclosed, and the frequency at which its lower end is reached (infinite for D)."""

    norm: Interval
    omega: float


def hinf(system: BallSystem[acb_mat]) -> Peak:
    """The H-infinity norm of a stable system by the level-set method.

    Where no level could be proved, the interval has no upper end.

    Source: Bruinsma & Steinbuch (1990), Syst. Control Lett. 14:287; a level above the gain at one
        frequency exceeds the norm if and only if its Hamiltonian matrix has no imaginary
        eigenvalue, which enclosures of all eigenvalues prove.
    """
    if is_zero(system.B) or is_zero(system.C):
        return _static(system)
    if has_no_response(system):
        return Peak(Interval(0.0, 0.0), 0.0)
    small = is_small(LARGEST_EXACT_LEVEL, system.A, system.B, system.C, system.D)
    found = at_growing_precision(
        lambda: _level_set(axis := on_axis(system), partial(_crossings, axis)),
        (lambda: _exact_level_set(system)) if small else None,
    )
    gain, level, omega = found or _lower_bound(system)
    lower, upper = rescaled(gain, system.exponent).lower, rescaled(level, system.exponent).upper
    omega = 2 * math.atan(omega) if system.discrete else frequency_in_units(omega, system.speed)
    return Peak(Interval(lower, upper), abs(omega) if system.real else omega)


def frequency_in_units(omega: float, speed: int) -> float:
    try:
        return math.ldexp(omega, speed)
    except OverflowError:
        return math.copysign(math.inf, omega)


def _static(system: BallSystem[acb_mat]) -> Peak:
    with flint.ctx.workprec(PRECISIONS[0]):
        lower, upper = gain_reached(system.D), norm_bound(system.D)
        norm = Interval(
            rescaled(lower, system.exponent).lower, rescaled(upper, system.exponent).upper
        )
    return Peak(norm, 0.0 if system.discrete else math.inf)


def _lower_bound(system: BallSystem[acb_mat]) -> tuple[arb, arb, float]:
    """The largest gain found at a pole's frequency, and no upper bound."""
    gain, omega = arb(0), 0.0
    with flint.ctx.workprec(PRECISIONS[1]), contextlib.suppress(ZeroDivisionError, ValueError):
        axis = on_axis(system)
        gain, omega = _climb(axis, pole_frequencies(axis), gain, omega)
    return gain, arb("inf"), omega


def pole_frequencies(axis: BallSystem[acb_mat]) -> list[arb]:
    about = axis.A.eig(algorithm="approx", maxiter=100 * axis.states)
    return [z.imag.mid() for z in about] + [abs(z).mid() for z in about] + [arb(0)]


def _exact_level_set(system: BallSystem[acb_mat]) -> tuple[arb, arb, float] | None:
    exact = on_axis(_rational_system(system))
    return _level_set(on_axis(system), partial(_exact_crossings, exact))


def _level_set(
    axis: BallSystem[acb_mat], crossings_at: Callable[[arb], list[arb] | None]
) -> tuple[arb, arb, float] | None:
    """A gain reached at a frequency, a level just above all gains, and that frequency."""
    gain, omega = _climb(axis, pole_frequencies(axis), gain_reached(axis.D), math.inf)
    for _ in range(ROUNDS):
        level = gain * (1 + arb(TOLERANCE) / 2)
        crossings = crossings_at(level.mid()) if gain > 0 else None
        if crossings is None:
            return None
        higher, omega_higher = _climb(axis, _with_middles(crossings), gain, omega)
        if not crossings:
            return gain, level, omega
        if not higher > gain:
            return None
        gain, omega = higher, omega_higher
    return None


def on_axis(system: BallSystem[M]) -> BallSystem[M]:
    """A continuous system of the same gains: itself, or z = (1 + s) / (1 - s) put into G."""
    if not system.discrete:
        return system
    eye = identity(type(system.A), system.states)
    inverse = (system.A + eye).inv()
    D = system.D - system.C * inverse * system.B
    matrices = ((system.A - eye) * inverse, 2 * (inverse * system.B), system.C * inverse, D)
    return BallSystem(*matrices, exponent=system.exponent, discrete=False, real=system.real)


def _crossings(axis: BallSystem[acb_mat], level: arb) -> list[arb] | None:
    """Frequencies at which the gain may equal the level; None where the level is below D's gain."""
    if not norm_bound(axis.D * (1 / level)) < 1:
        return None
    eye = partial(identity, acb_mat)
    hamiltonian = _hamiltonian(axis, 1 / level, eye, lambda M: M.conjugate().transpose())
    eigenvalues = hamiltonian.eig(multiple=True)
    return [z.imag.mid() for z in eigenvalues if z.real.contains(0)]


def _exact_crossings(axis: BallSystem[fmpq_mat], level: arb) -> list[arb] | None:
    """The same in rational numbers, by the real roots of the characteristic polynomial in s^2."""
    if not norm_bound(_to_balls_exactly(axis.D) * (1 / level)) < 1:
        return None
    eye = partial(identity, fmpq_mat)
    hamiltonian = _hamiltonian(axis, 1 / rational(level), eye, fmpq_mat.transpose)
    even = fmpq_poly(hamiltonian.charpoly().coeffs()[::2])
    pairs: Any = even.complex_roots()  # with multiplicities, which the stubs leave out
    roots = [x.real for x, _ in pairs if x.imag == 0 and not x.real > 0]
    found = [abs(x).sqrt().mid() for x in roots]
    return found + [-omega for omega in found]  # of a complex system, one of the two crosses


def _rational_system(system: BallSystem[acb_mat]) -> BallSystem[fmpq_mat]:
    """The system, or its real form, in rational numbers."""
    matrices = (system.A, system.B, system.C, system.D)
    parts = (real_rational(matrix, system.real) for matrix in matrices)
    return BallSystem(*parts, exponent=system.exponent, discrete=system.discrete, real=True)


def _to_balls_exactly(matrix: fmpq_mat) -> acb_mat:
    return acb_mat([[acb(x) for x in row] for row in matrix.tolist()])


def _hamiltonian(axis: Any, inverse_level: Any, eye: Callable, adjoint: Callable) -> Any:
    """The Hamiltonian matrix of a level, in any exact or interval arithmetic."""
    A, B, C, D = axis.A, axis.B * inverse_level, axis.C, axis.D * inverse_level
    inputs = (eye(B.ncols()) - adjoint(D) * D).inv()
    outputs = eye(C.nrows()) + D * inputs * adjoint(D)
    drift = A + B * inputs * adjoint(D) * C
    top = _beside(drift, B * inputs * adjoint(B))
    bottom = _beside(-(adjoint(C) * outputs * C), -adjoint(drift))
    return type(A)(top + bottom)


def _beside(left: Any, right: Any) -> list[list[Any]]:
    return [a + b for a, b in zip(left.tolist(), right.tolist(), strict=True)]


def _with_middles(crossings: list[arb]) -> list[arb]:
    """Frequencies, in order, and the middles between them: some middle lies above the level.

    Geometric means as well as arithmetic ones, since frequencies may span many powers of ten.
    """
    ordered = sorted([*crossings, arb(0)], key=float)
    pairs = list(pairwise(ordered))
    means = [(a * b).sqrt() * (1 if a > 0 else -1) for a, b in pairs if a * b > 0]
    return ordered + [(a + b) / 2 for a, b in pairs] + [x.mid() for x in means]


def _climb(
    axis: BallSystem[acb_mat], candidates: list[arb], gain: arb, omega: float
) -> tuple[arb, float]:
    """The largest proved gain among the candidates and the best so far, with its frequency."""
    for candidate in candidates:
        found = _gain_at(axis, candidate)
        if found > gain:
            gain, omega = found, float(candidate.mid())
    return gain, omega


def _gain_at(axis: BallSystem[acb_mat], omega: arb) -> arb:
    """A lower bound on sigma_max G(i omega); 0 where i omega cannot be told from a pole."""
    resolvent = acb(0, omega) * identity(acb_mat, axis.states) - axis.A
    try:
        return gain_reached(axis.C * resolvent.solve(axis.B) + axis.D)
    except ZeroDivisionError:
        return arb(0)
