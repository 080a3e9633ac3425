"""Levels of the average supply by branch and bound, without eigenvalues."""

from __future__ import annotations

import contextlib

from flint import arb

from ssmbench.analysis.ball.average_supply import Found, Problem, exceeds_at

#: The number of subdivisions times N^2.
_SUBDIVISIONS = 40_000


def covers(problem: Problem, found: Found) -> bool:
    """Whether Pi exceeds the level, which sinks where a lower value is found, in the whole band."""
    cells = [(_angle(low).lower(), _angle(high).upper()) for low, high in problem.parts]
    for _ in range(int(_SUBDIVISIONS / max(problem.axis.states, 4) ** 2)):
        if not cells:
            return True
        start, end = cells.pop()
        middle = ((start + end) / 2).mid()
        theta = middle + arb(0, 1) * ((end - start) / 2).upper()
        with contextlib.suppress(ZeroDivisionError):
            if exceeds_at(problem.at_angles(theta), found.level()):
                continue
        found.search(problem, [(middle / 2).tan().mid()])
        cells += [(start, middle), (middle, end)]
    return False


def _angle(omega: arb) -> arb:
    return 2 * omega.atan() if omega.is_finite() else arb.pi() * (1 if omega > 0 else -1)
