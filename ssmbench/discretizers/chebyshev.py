"""Runge-Kutta-Chebyshev: explicit, with a real stability interval that grows as stages squared.

The three-term recurrence of the stages is unrolled into an ordinary tableau, so everything that
holds for tableaux holds here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import Chebyshev

from ssmbench.discretizers.runge_kutta import RungeKutta, RungeKuttaConfig
from ssmbench.discretizers.tableau import Tableau
from ssmbench.errors import require
from ssmbench.options import FRACTION, option
from ssmbench.registry import discretizers

_CITATION = (
    "van der Houwen, Sommeijer 1980, ZAMM 60:479; Verwer, Hundsdorfer, Sommeijer 1990, "
    "Numer. Math. 57:157"
)
_MAX_STAGES = 50  # the coefficients, and so the rounding errors, grow with the number of stages


@dataclass
class Rkc1Config(RungeKuttaConfig):
    """``stages``, and ``damping`` of the polynomial (0: the longest interval, 2 stages^2)."""

    stages: int = 5
    damping: float = option(0.0, FRACTION)


@dataclass
class Rkc2Config(RungeKuttaConfig):
    """``stages``, at least 2, and ``damping`` of the polynomial."""

    stages: int = 5
    damping: float = option(2 / 13, FRACTION)


@discretizers.register("rkc1", config=Rkc1Config, citation=_CITATION)
class Rkc1(RungeKutta):
    """Runge-Kutta-Chebyshev of order 1: stable on [-2 s^2, 0] for s stages, without damping."""

    note = "for real poles; no undamped oscillation is stable"

    def make_tableau(self, config: Rkc1Config) -> Tableau:
        check_stages(config, minimum=1)
        return first_order(config.stages, config.damping)


@discretizers.register("rkc2", config=Rkc2Config, citation=_CITATION)
class Rkc2(RungeKutta):
    """Runge-Kutta-Chebyshev of order 2: stable on about [-2/3 s^2, 0] for s stages."""

    note = "for real poles; no undamped oscillation is stable"

    def make_tableau(self, config: Rkc2Config) -> Tableau:
        check_stages(config, minimum=2)
        return second_order(config.stages, config.damping)


def check_stages(config: Rkc1Config | Rkc2Config, minimum: int) -> None:
    """Raise a UsageError unless the number of stages is in range."""
    require(
        minimum <= config.stages <= _MAX_STAGES,
        f"stages must be from {minimum} to {_MAX_STAGES}, got {config.stages}",
    )


def first_order(stages: int, damping: float) -> Tableau:
    """``R(z) = T_s(w0 + w1 z) / T_s(w0)``, w0 = 1 + damping / s^2, w1 = T_s(w0) / T_s'(w0)."""
    w0 = 1 + damping / stages**2
    T = [Chebyshev.basis(j)(w0) for j in range(stages + 1)]
    w1 = T[stages] / Chebyshev.basis(stages).deriv()(w0)
    b = 1 / np.array(T)
    return _unrolled(f"rkc1 of {stages} stages", b, np.zeros_like(b), w0, w1, w1 / w0)


def second_order(stages: int, damping: float) -> Tableau:
    """``R(z) = a_s + b_s T_s(w0 + w1 z)``, with which R'(0) = R''(0) = 1.

    b_j = T_j''(w0) / T_j'(w0)^2 for j >= 2, b_0 = b_1 = b_2, a_j = 1 - b_j T_j(w0),
    w1 = T_s'(w0) / T_s''(w0).
    """
    w0 = 1 + damping / stages**2
    bases = [Chebyshev.basis(j) for j in range(stages + 1)]
    first, second = ([basis.deriv(k)(w0) for basis in bases] for k in (1, 2))
    b = np.array([second[max(j, 2)] / first[max(j, 2)] ** 2 for j in range(stages + 1)])
    a = np.array([1 - b[j] * basis(w0) for j, basis in enumerate(bases)])
    w1 = first[stages] / second[stages]
    return _unrolled(f"rkc2 of {stages} stages", b, a, w0, w1, b[1] * w1)


def _unrolled(
    name: str, b: np.ndarray, a: np.ndarray, w0: float, w1: float, first: float
) -> Tableau:
    """The tableau of ``Y_1 = x + first h F_0`` and, from j = 2 on,

    ``Y_j = (1 - m - n) x + m Y_(j-1) + n Y_(j-2) + m~ h F_(j-1) - a_(j-1) m~ h F_0`` with
    ``m = 2 w0 b_j / b_(j-1)``, ``n = -b_j / b_(j-2)``, ``m~ = 2 w1 b_j / b_(j-1)``.

    Row j of Y holds the coefficients of h F_i in stage j; the last row is b.
    """
    stages = len(b) - 1
    Y = np.zeros((stages + 1, stages))
    Y[1, 0] = first
    for j in range(2, stages + 1):
        ratio = b[j] / b[j - 1]
        Y[j] = 2 * w0 * ratio * Y[j - 1] - b[j] / b[j - 2] * Y[j - 2]
        Y[j, j - 1] += 2 * w1 * ratio
        Y[j, 0] -= 2 * w1 * ratio * a[j - 1]
    return Tableau(name, Y[:stages], Y[stages], Y[:stages].sum(1))
