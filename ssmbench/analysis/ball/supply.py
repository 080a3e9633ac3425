"""The least of a quadratic supply rate over a band of frequencies, enclosed.

For a supply rate y^H Q y + 2 Re(y^H S u) + u^H R u, a sinusoid of frequency w and amplitude v
supplies v^H Pi(w) v on average, with Pi = G^H Q G + G^H S + S^H G + R. Enclosed is the least
eigenvalue of Pi(w) over a band: with Q = -I alone it is minus the square of the gain, with
S = I / 2 alone the passivity index.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from flint import acb, acb_mat, arb

from ssmbench.analysis.ball.norms import identity
from ssmbench.analysis.ball.peak import frequency_in_units, on_axis, pole_frequencies
from ssmbench.analysis.ball.system import (
    PRECISIONS,
    TOLERANCE,
    BallSystem,
    at_growing_precision,
    has_no_response,
    is_zero,
    lower,
    upper,
)
from ssmbench.analysis.bounded_real import cholesky_succeeds
from ssmbench.analysis.interval import UNKNOWN, Interval

#: Rounds of the level-set method at one precision.
ROUNDS = 30
#: Where nothing is supplied at the least, the error that counts as none, relative to the largest.
_SMALLEST = 1e-9
_INFINITE = arb("inf")


@dataclass(frozen=True)
class Supply:
    """Q (p, p), S (p, m) and R (m, m) of a supply rate, float64 or complex128; Q, R Hermitian."""

    Q: np.ndarray
    S: np.ndarray
    R: np.ndarray


@dataclass(frozen=True)
class Least:
    """The least eigenvalue enclosed, and the frequency at which its upper end is reached."""

    value: Interval
    omega: float


@dataclass(frozen=True)
class Problem:
    """A continuous system, a supply rate in its units, and the parts of the imaginary axis that
    are asked about."""

    axis: BallSystem[acb_mat]
    Q: acb_mat
    S: acb_mat
    R: acb_mat
    parts: tuple[tuple[arb, arb], ...]

    def at(self, omega: arb) -> acb_mat:
        """Pi at a frequency of the axis; raises ZeroDivisionError at a pole."""
        G = self.axis.D
        if omega.is_finite() and self.axis.states:
            resolvent = acb(0, omega) * identity(acb_mat, self.axis.states) - self.axis.A
            G = self.axis.C * resolvent.solve(self.axis.B) + G
        H = _adjoint(G)
        return H * self.Q * G + H * self.S + _adjoint(self.S) * G + self.R

    def terms(self, omega: arb) -> float:
        """About the size of the terms that add up to Pi, for a measure of its error."""
        return sum(float(abs(x).upper()) for x in self.at(omega).entries())


def least_supply(system: BallSystem[acb_mat], supply: Supply, low: float, high: float) -> Least:
    """The least eigenvalue of Pi(w) over low <= abs(w) <= high, of a stable system.

    Args:
        system: stable; one without poles may be anything.
        supply: of the system's sizes.
        low: in radians per sample or per unit of time; at least 0.
        high: at least ``low``; pi, or infinity, for all above.

    Returns:
        an interval with an infinite lower end where no level could be proved.

    Source: the level-set method (Bruinsma & Steinbuch 1990, Syst. Control Lett. 14:287) for any
        supply rate: Pi(w) - mu I is singular just where i w is an eigenvalue of a Hamiltonian
        matrix, provided that it is not singular at infinity. Where no enclosure of an eigenvalue
        meets the band, and Pi - mu I > 0 at one of its frequencies, it is so at all.
    """
    if is_zero(system.B) or is_zero(system.C) or has_no_response(system):
        system = _without_states(system)
    best = Least(UNKNOWN, low)

    def compute() -> Least | None:
        nonlocal best
        problem = problem_of(system, supply, low, high)
        best, proved = _level_set(problem, system)
        return best if proved else None

    return at_growing_precision(compute, precisions=PRECISIONS[:3]) or best


def _without_states(system: BallSystem[acb_mat]) -> BallSystem[acb_mat]:
    m, p = system.D.ncols(), system.D.nrows()
    parts = (acb_mat(0, 0), acb_mat(0, m), acb_mat(p, 0), system.D)
    return BallSystem(
        *parts, exponent=system.exponent, discrete=system.discrete, real=system.real, speed=0
    )


def problem_of(system: BallSystem[acb_mat], supply: Supply, low: float, high: float) -> Problem:
    axis = on_axis(system) if system.states else system
    unit = acb(arb(2) ** system.exponent)
    part = (_on_axis_frequency(low, system), _on_axis_frequency(high, system))
    parts = (part,) if system.real else (part, (-part[1], -part[0]))
    return Problem(
        axis, _balls(supply.Q) * (unit * unit), _balls(supply.S) * unit, _balls(supply.R), parts
    )


def _on_axis_frequency(omega: float, system: BallSystem[acb_mat]) -> arb:
    if not system.discrete:
        return _INFINITE if math.isinf(omega) else arb(omega) / arb(2) ** system.speed
    return _INFINITE if omega >= math.pi else (arb(omega) / 2).tan()


def _balls(matrix: np.ndarray) -> acb_mat:
    rows, columns = matrix.shape
    entries = [acb(float(np.real(x)), float(np.imag(x))) for x in matrix.ravel()]
    return acb_mat(rows, columns, entries)


def _adjoint(matrix: acb_mat) -> acb_mat:
    return matrix.conjugate().transpose()


# --- the level set ------------------------------------------------------------------------------


def _level_set(problem: Problem, system: BallSystem[acb_mat]) -> tuple[Least, bool]:
    """The least value found with its frequency, and whether a level just below is proved."""
    found = _Found()
    found.search(problem, _starts(problem))
    if not found.places:
        return Least(UNKNOWN, 0.0), False
    for _ in range(ROUNDS):
        level = found.least - found.tolerance()
        crossings = crossings_of(problem, level)
        if crossings is None:
            break
        if not crossings:
            if not all(_exceeds(problem, level, part, found) for part in problem.parts):
                break
            value = Interval(lower(level), upper(found.least))
            return Least(value, _frequency(found.omega, system)), True
        before = found.least
        found.search(problem, _between(crossings, problem.parts))
        if not found.least < before:
            break
    value = Interval(-math.inf, upper(found.least))
    return Least(value, _frequency(found.omega, system)), False


@dataclass
class _Found:
    """The least value so far, where it is reached, and all frequencies that were looked at."""

    least: arb = _INFINITE
    omega: arb = _INFINITE
    largest: float = 0.0
    places: tuple[tuple[arb, float], ...] = ()

    def search(self, problem: Problem, candidates: Iterable[arb]) -> None:
        for omega in candidates:
            try:
                Pi = problem.at(omega)
            except ZeroDivisionError:
                continue
            about, value = _least_eigenvalue(Pi)
            if not value.is_finite():
                continue
            self.largest = max(self.largest, about)
            self.places += ((omega, float(value)),)
            if not self.least <= value:
                self.least, self.omega = value, omega

    def tolerance(self) -> arb:
        """How far below the least value the level is that is to be proved."""
        size = max(abs(float(self.least)), _SMALLEST * self.largest, 1e-290)
        return arb(TOLERANCE / 2 * size)


def _least_eigenvalue(Pi: acb_mat) -> tuple[float, arb]:
    """About the norm of Pi, and an upper bound on its least eigenvalue: a Rayleigh quotient."""
    entries = Pi.entries()
    largest = max((abs(x) for x in entries), key=float)
    if not largest.is_finite():
        return 0.0, _INFINITE
    if not largest > 0:
        return 0.0, largest.upper()
    unit = np.array([complex(x / largest) for x in entries]).reshape(Pi.nrows(), Pi.ncols())
    vector = np.linalg.eigh((unit + unit.conj().T) / 2)[1][:, 0]
    v = acb_mat([[acb(float(x.real), float(x.imag))] for x in vector])
    quotient = (_adjoint(v) * Pi * v)[0, 0].real / (_adjoint(v) * v)[0, 0].real
    return float(largest), quotient.upper()


def _starts(problem: Problem) -> list[arb]:
    poles = pole_frequencies(problem.axis) if problem.axis.states else []
    ends = [end for part in problem.parts for end in part]
    finite = [end.mid() for end in ends if end.is_finite()]
    inside = [w for w in [*poles, *(-w for w in poles)] if _within(w, problem.parts)]
    unbounded = [end for end in ends if not end.is_finite()]
    return [*finite, *inside, *unbounded]


def _within(omega: arb, parts: Sequence[tuple[arb, arb]]) -> bool:
    """Whether a frequency may lie in the band."""
    return any(not omega < low and not omega > high for low, high in parts)


def _between(crossings: list[arb], parts: Sequence[tuple[arb, arb]]) -> list[arb]:
    """Frequencies in the band at, between and beside crossings: some value there is lower."""
    found: list[arb] = []
    for low, high in parts:
        inside = [w.mid() for w in crossings if not w < low and not w > high]
        edges = [end.mid() for end in (low, high) if end.is_finite()]
        ordered = sorted([*inside, *edges], key=float)
        middles = [(a + b) / 2 for a, b in pairwise(ordered)]
        means = [_mean(a, b) for a, b in pairwise(ordered) if a * b > 0]
        beyond = [ordered[-1] * 2, ordered[0] / 2] if ordered else []
        found += [w for w in (*inside, *middles, *means, *beyond) if _within(w, [(low, high)])]
    return found


def _mean(a: arb, b: arb) -> arb:
    return ((a * b).sqrt() * (1 if a > 0 else -1)).mid()


def crossings_of(problem: Problem, level: arb) -> list[arb] | None:
    """Enclosures of the frequencies in the band at which Pi - level I may be singular; None where
    Pi at infinity, less the level, cannot be told from a singular matrix."""
    axis, Q, S = problem.axis, problem.Q, problem.S
    A, B, C, D = axis.A, axis.B, axis.C, axis.D
    H = _adjoint(D)
    eye = identity(acb_mat, D.ncols())
    direct = H * Q * D + H * S + _adjoint(S) * D + problem.R - level * eye
    try:
        inverse = direct.inv()
    except ZeroDivisionError:
        return None
    if not axis.states:
        return []
    # Pi - mu I has the states (x, q), q' = -A^H q - C^H Q C x - C^H (Q D + S) u, and the output
    # (D^H Q + S^H) C x + B^H q + direct u: zero output for u = -inverse (...).
    above, below = B, -(_adjoint(C) * (Q * D + S))
    left, right = (H * Q + _adjoint(S)) * C, _adjoint(B)
    rows = _stack(
        (A - above * inverse * left, -(above * inverse * right)),
        (-(_adjoint(C) * Q * C) - below * inverse * left, -_adjoint(A) - below * inverse * right),
    )
    eigenvalues = acb_mat(rows).eig(multiple=True)
    return [z.imag for z in eigenvalues if z.real.contains(0) and _within(z.imag, problem.parts)]


def _stack(*rows: tuple[acb_mat, acb_mat]) -> list[list[acb]]:
    return [
        a + b for left, right in rows for a, b in zip(left.tolist(), right.tolist(), strict=True)
    ]


def _exceeds(problem: Problem, level: arb, part: tuple[arb, arb], found: _Found) -> bool:
    """Whether Pi - level I > 0 is proved at a frequency that is known to lie in that part."""
    low, high = part
    inside = [(value, w) for w, value in found.places if low <= w and w <= high]
    best = [w for _, w in sorted(inside, key=lambda pair: -pair[0])[:3]]
    shift = level * identity(acb_mat, problem.R.nrows())
    return any(_is_positive(problem.at(w) - shift) for w in (*best, low, high))


def _is_positive(matrix: acb_mat) -> bool:
    """Whether every Hermitian matrix in the enclosure is positive definite."""
    largest = max((abs(x) for x in matrix.entries()), key=float)
    if not (largest.is_finite() and largest > 0):
        return False
    unit = matrix * (1 / largest.mid())
    if unit.nrows() == 1:
        return bool(unit[0, 0].real > 0)
    entries = unit.entries()
    middle = np.array([complex(x) for x in entries]).reshape(unit.nrows(), unit.ncols())
    pairs = zip(entries, middle.ravel().tolist(), strict=True)
    radius = [float(abs(x - acb(m.real, m.imag)).upper()) for x, m in pairs]
    error = torch.tensor(radius, dtype=torch.float64).reshape(middle.shape)
    M = torch.from_numpy((middle + middle.conj().T) / 2)[None]
    return bool(cholesky_succeeds(M, 1.01 * (error + error.T)[None] + 1e-15))


def _frequency(omega: arb, system: BallSystem[acb_mat]) -> float:
    value = float(omega)
    if system.discrete:
        return abs(2 * math.atan(value)) if system.real else 2 * math.atan(value)
    found = frequency_in_units(value, system.speed)
    return abs(found) if system.real else found
