"""The H2 norm of a system, enclosed."""

from __future__ import annotations

import math

import flint
from flint import acb_mat, arb

from ssmbench.analysis.ball.norms import identity, square_norm
from ssmbench.analysis.ball.system import (
    PRECISIONS,
    TOLERANCE,
    BallSystem,
    at_growing_precision,
    has_no_response,
    is_zero,
    rescaled,
)
from ssmbench.analysis.interval import INFINITE, UNPROVED, Interval

#: Further precisions, since the recursion loses 50 bits per doubling where A is far from normal.
GRAMIAN_BITS = (2048, 4096)
#: Doublings of a Gramian's horizon: enough for a stability margin of 1e-30.
DOUBLINGS = 100


def h2(system: BallSystem[acb_mat]) -> Interval:
    """H2 norm of a stable system, enclosed; for a continuous one with D != 0 it is infinite.

    Source: the controllability Gramian X = sum_k A^k B B^H A^kH by doubling (Smith 1968); what is
        left out after 2^k steps is A_k X A_k^H with A_k = A^(2^k), in continuous time for the
        bilinear transform of A, which has the same Gramian.
    """
    if not system.discrete and not is_zero(system.D):
        return INFINITE
    if has_no_response(system):
        return Interval(0.0, 0.0)
    if is_zero(system.B) or is_zero(system.C):
        with flint.ctx.workprec(PRECISIONS[0]):
            return rescaled(square_norm(system.D).sqrt(), system.exponent)
    found = at_growing_precision(lambda: _energy(system), precisions=PRECISIONS + GRAMIAN_BITS)
    if found is None:
        return UNPROVED
    time = arb(2) ** system.speed  # energy per unit of time
    return rescaled((found * time).sqrt(), system.exponent)


def _energy(system: BallSystem[acb_mat]) -> arb | None:
    A, B = (system.A, system.B) if system.discrete else _bilinear(system)
    X, C = B * B.conjugate().transpose(), system.C
    direct = square_norm(system.D) if system.discrete else arb(0)
    for _ in range(DOUBLINGS):
        X, A = X + A * X * A.conjugate().transpose(), A * A
        share, sizes = square_norm(A).sqrt(), square_norm(X).sqrt()
        if not share.is_finite():
            return None
        if not share < 0.5:
            continue
        rest = square_norm(C) * share**2 * sizes / (1 - share**2)
        energy = direct + _trace(C * X * C.conjugate().transpose())
        total = energy + arb(0, 1) * rest.upper()  # the tail is positive: rest above, none below
        if total.rad() <= TOLERANCE * energy.mid():
            return total.union(energy) if energy > 0 else None
        if rest <= energy.rad():  # more steps help no further, only more digits
            return None
    return None


def _trace(matrix: acb_mat) -> arb:
    return sum((matrix[i, i].real for i in range(matrix.nrows())), arb(0))


def _bilinear(system: BallSystem[acb_mat]) -> tuple[acb_mat, acb_mat]:
    """(w I - A)^-1 (w I + A) and sqrt(2 w) (w I - A)^-1 B, w between the slow and the fast pole."""
    about = system.A.eig(algorithm="approx")
    parts, sizes = [-z.real for z in about], [abs(z) for z in about]
    speed = (min(parts, key=float) * max(sizes, key=float)).mid()
    w = arb(2) ** round(math.frexp(float(speed.sqrt()))[1]) if speed > 0 else arb(1)
    eye = w * identity(acb_mat, system.states)
    inverse = (eye - system.A).inv()
    return inverse * (eye + system.A), (2 * w).sqrt() * (inverse * system.B)
