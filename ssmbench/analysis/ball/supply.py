"""The least of a quadratic supply rate over a band of frequencies, enclosed.

For a supply rate y^H Q y + 2 Re(y^H S u) + u^H R u, a sinusoid of frequency w and amplitude v
supplies v^H Pi(w) v on average, with Pi = G^H Q G + G^H S + S^H G + R. Enclosed is the least
eigenvalue of Pi(w) over a band: with Q = -I alone it is minus the square of the gain, with
S = I / 2 alone the passivity index.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import flint
from flint import acb, acb_mat, arb

from ssmbench.analysis.ball.average_supply import (
    Found,
    Problem,
    Supply,
    adjoint,
    exceeds_at,
    problem_of,
)
from ssmbench.analysis.ball.norms import identity
from ssmbench.analysis.ball.peak import frequency_in_units, pole_frequencies
from ssmbench.analysis.ball.subdivision import covers
from ssmbench.analysis.ball.system import (
    PRECISIONS,
    BallSystem,
    at_growing_precision,
    has_no_response,
    is_zero,
    lower,
    upper,
)
from ssmbench.analysis.interval import UNKNOWN, Interval

#: Rounds of the level-set method at one precision.
ROUNDS = 30
#: Without eigenvalues: how far below the least value the level is, in turn until one is proved.
_SHARES = (1e-4, 0.03)


@dataclass(frozen=True)
class Least:
    """The least eigenvalue enclosed, and the frequency at which its upper end is reached."""

    value: Interval
    omega: float


def least_supply(system: BallSystem[acb_mat], supply: Supply, low: float, high: float) -> Least:
    """The least eigenvalue of Pi(w) over low <= abs(w) <= high, of a stable system.

    Args:
        system: stable; one without poles may be anything.
        supply: of the system's sizes.
        low: in radians per sample or per unit of time; at least 0.
        high: at least ``low``; pi, or infinity, for all above.

    Returns:
        an interval without a lower end where no level could be proved; 1e-9 wide, relatively,
        unless eigenvalues are so close to each other that only subdivision is possible.

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

    found = at_growing_precision(compute, precisions=PRECISIONS[:3])
    return found or subdivided(system, supply, low, high) or best


def subdivided(
    system: BallSystem[acb_mat], supply: Supply, low: float, high: float
) -> Least | None:
    """The same by branch and bound: intervals of frequencies are halved until Pi, enclosed over all
    of each, exceeds the level. It needs no eigenvalues, but it is less sharp."""
    with flint.ctx.workprec(PRECISIONS[0]):
        for share in _SHARES:
            problem = problem_of(system, supply, low, high)
            found = Found(share=share)
            found.search(problem, _starts(problem))
            if found.places and covers(problem, found):
                value = Interval(lower(found.level()), upper(found.least))
                return Least(value, _frequency(found.omega, system))
    return None


def _without_states(system: BallSystem[acb_mat]) -> BallSystem[acb_mat]:
    m, p = system.D.ncols(), system.D.nrows()
    parts = (acb_mat(0, 0), acb_mat(0, m), acb_mat(p, 0), system.D)
    return BallSystem(
        *parts, exponent=system.exponent, discrete=system.discrete, real=system.real, speed=0
    )


# --- the level set ------------------------------------------------------------------------------


def _level_set(problem: Problem, system: BallSystem[acb_mat]) -> tuple[Least, bool]:
    """The least value found with its frequency, and whether a level just below is proved."""
    found = Found()
    found.search(problem, _starts(problem))
    if not found.places:
        return Least(UNKNOWN, 0.0), False
    for _ in range(ROUNDS):
        level = found.level()
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
    H = adjoint(D)
    eye = identity(acb_mat, D.ncols())
    direct = H * Q * D + H * S + adjoint(S) * D + problem.R - level * eye
    try:
        inverse = direct.inv()
    except ZeroDivisionError:
        return None
    if not axis.states:
        return []
    # Pi - mu I has the states (x, q), q' = -A^H q - C^H Q C x - C^H (Q D + S) u, and the output
    # (D^H Q + S^H) C x + B^H q + direct u: zero output for u = -inverse (...).
    above, below = B, -(adjoint(C) * (Q * D + S))
    left, right = (H * Q + adjoint(S)) * C, adjoint(B)
    rows = _stack(
        (A - above * inverse * left, -(above * inverse * right)),
        (-(adjoint(C) * Q * C) - below * inverse * left, -adjoint(A) - below * inverse * right),
    )
    eigenvalues = acb_mat(rows).eig(multiple=True)
    return [z.imag for z in eigenvalues if z.real.contains(0) and _within(z.imag, problem.parts)]


def _stack(*rows: tuple[acb_mat, acb_mat]) -> list[list[acb]]:
    return [
        a + b for left, right in rows for a, b in zip(left.tolist(), right.tolist(), strict=True)
    ]


def _exceeds(problem: Problem, level: arb, part: tuple[arb, arb], found: Found) -> bool:
    """Whether Pi - level I > 0 is proved at a frequency that is known to lie in that part."""
    low, high = part
    inside = [(value, w) for w, value in found.places if low <= w and w <= high]
    best = [w for _, w in sorted(inside, key=lambda pair: -pair[0])[:3]]
    return any(exceeds_at(problem.at(w), level) for w in (*best, low, high))


def _frequency(omega: arb, system: BallSystem[acb_mat]) -> float:
    value = float(omega)
    if system.discrete:
        return abs(2 * math.atan(value)) if system.real else 2 * math.atan(value)
    found = frequency_in_units(value, system.speed)
    return abs(found) if system.real else found
