"""The delay margin of unity negative feedback around a continuous system of one channel."""

from __future__ import annotations

import math

import flint
import numpy as np
from flint import acb, acb_mat, arb

from ssmbench.analysis.ball.average_supply import Problem, Supply, problem_of
from ssmbench.analysis.ball.norms import identity
from ssmbench.analysis.ball.supply import crossings_of
from ssmbench.analysis.ball.system import (
    PRECISIONS,
    BallSystem,
    at_growing_precision,
    lower,
    upper,
)
from ssmbench.analysis.interval import Interval

_BELOW_ONE = Supply(-np.eye(1), np.zeros((1, 1)), np.eye(1))


def closed_loop_is_stable(system: BallSystem[acb_mat]) -> bool | None:
    """Whether u = -y around a system makes it stable; None: neither is proved. A loop that has no
    solution, or more than one, counts as unstable.

    Args:
        system: square, in discrete or continuous time.
    """

    def compute() -> bool | None:
        gain = acb_mat(system.D * acb(arb(2) ** system.exponent))
        loop = identity(acb_mat, gain.nrows()) + gain
        if loop.det() == 0:
            return False
        scale = acb(arb(2) ** system.exponent)
        A = system.A - system.B * (loop.inv() * scale) * system.C
        sizes = A.eig(multiple=True)
        if system.discrete:
            return _side([abs(z) - 1 for z in sizes])
        return _side([z.real for z in sizes])

    return at_growing_precision(compute) if system.states else True


def _side(distances: list[arb]) -> bool | None:
    if all(x < 0 for x in distances):
        return True
    return False if any(x >= 0 for x in distances) else None


def delay_margin(system: BallSystem[acb_mat]) -> tuple[Interval, float]:
    """The smallest delay in u(t) = -y(t - delay) that leaves the loop not asymptotically stable.

    With a delay the first roots reach the imaginary axis where e^(i w delay) = -G(i w), so at a
    frequency w with abs(G) = 1, after the delay (phase of -G) / w. All such frequencies are
    enclosed as eigenvalues of a Hamiltonian matrix; that the gain crosses 1 there is proved by its
    values on both sides.

    Args:
        system: stable, in continuous time, with one input and one output, and a stable loop
            without a delay.

    Returns:
        The margin enclosed, in units of time, and the frequency of the crossing, in radians per
        unit of time. 0 where abs(D) >= 1, since any delay then destabilises the loop.

    Source: Walton & Marshall (1987), IEE Proc. D 134:101.
    """
    with flint.ctx.workprec(PRECISIONS[1]):
        direct = abs(system.D[0, 0] * acb(arb(2) ** system.exponent))
        if direct >= 1:
            return Interval(0.0, 0.0), math.inf
    found = at_growing_precision(lambda: _enclosed(system), precisions=PRECISIONS[:3])
    return found or (Interval(0.0, math.inf), math.nan)


def _enclosed(system: BallSystem[acb_mat]) -> tuple[Interval, float] | None:
    problem = problem_of(system, _BELOW_ONE, 0.0, math.inf)
    crossings = crossings_of(problem, arb(0))
    if crossings is None:
        return None
    crossings = sorted((w for w in crossings if w.upper() > 0), key=float)
    time = arb(2) ** -system.speed
    least, first, omega = arb("inf"), arb("inf"), math.inf
    for index, w in enumerate(crossings):
        phase = _phase(problem, w)
        least = least.min(phase.lower().max(arb(0)) / w.upper() * time)
        if w > 0 and _is_crossed(problem, crossings, index):
            reached = phase.upper() / w.lower() * time
            if not first <= reached:
                first, omega = reached, float(w) / float(time)
    wide = first.is_finite() and not first - least <= arb(1e-9) * first
    if wide or (crossings and not first.is_finite()):
        return None
    return Interval(max(lower(least), 0.0) if crossings else math.inf, upper(first)), omega


def _response(problem: Problem, omega: arb) -> acb:
    axis = problem.axis
    resolvent = acb(0, omega) * identity(acb_mat, axis.states) - axis.A
    return (axis.C * resolvent.solve(axis.B) + axis.D)[0, 0]


def _phase(problem: Problem, omega: arb) -> arb:
    """The phase of -G in [0, 2 pi]; its branch is cut where a delay of 0 would do."""
    return _response(problem, omega).arg() + arb.pi()


def _is_crossed(problem: Problem, crossings: list[arb], index: int) -> bool:
    """Whether abs(G) - 1 has opposite signs on both sides of one enclosure, alone there."""
    w = crossings[index]
    before = crossings[index - 1].upper() if index else arb(0)
    after = crossings[index + 1].lower() if index + 1 < len(crossings) else 2 * w.upper()
    if not (before < w.lower() and w.upper() < after):
        return False
    sides = [_excess(problem, (before + w.lower()) / 2), _excess(problem, (w.upper() + after) / 2)]
    return bool((sides[0] > 0 and sides[1] < 0) or (sides[0] < 0 and sides[1] > 0))


def _excess(problem: Problem, omega: arb) -> arb:
    """abs(G)^2 - 1, at a frequency of the scaled system."""
    return -problem.at(omega.mid())[0, 0].real
