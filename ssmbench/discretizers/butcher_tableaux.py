"""Runge-Kutta discretizers, each a tableau and one sentence; ``runge_kutta`` does the rest.

For the computed facts of each, see ``ssmbench show discretizer NAME`` or docs/variants.md.
Coefficients: Hairer, Norsett, Wanner 1993, Solving Ordinary Differential Equations I (HNW), and
Hairer, Wanner 1996, Solving Ordinary Differential Equations II (HW).
"""

from __future__ import annotations

from math import acos, cos, pi, sqrt

from ssmbench.discretizers.runge_kutta import RungeKutta, RungeKuttaConfig
from ssmbench.discretizers.tableau import Tableau
from ssmbench.registry import discretizers

# --- explicit -----------------------------------------------------------------------------------


@discretizers.register(
    "forward_euler", config=RungeKuttaConfig, citation="Euler 1768; HNW, section I.7"
)
class ForwardEuler(RungeKutta):
    """Explicit Euler: A_bar = I + hA, B_bar = hB; no undamped oscillation is stable."""

    data = Tableau("forward_euler", T=[[0]], b=[1], c=[0])


@discretizers.register("heun", config=RungeKuttaConfig, citation="Heun 1900; HNW, section II.1")
class Heun(RungeKutta):
    """Heun's explicit trapezoid, order 2."""

    data = Tableau("heun", T=[[0, 0], [1, 0]], b=[1 / 2, 1 / 2], c=[0, 1])


@discretizers.register(
    "explicit_midpoint", config=RungeKuttaConfig, citation="Runge 1895; HNW, section II.1"
)
class ExplicitMidpoint(RungeKutta):
    """Runge's explicit midpoint rule, order 2."""

    data = Tableau("explicit_midpoint", T=[[0, 0], [1 / 2, 0]], b=[0, 1], c=[0, 1 / 2])


@discretizers.register(
    "ssprk33", config=RungeKuttaConfig, citation="Shu, Osher 1988, J. Comput. Phys. 77:439"
)
class SSPRK33(RungeKutta):
    """Strong-stability-preserving, 3 stages, order 3."""

    data = Tableau(
        "ssprk33",
        T=[[0, 0, 0], [1, 0, 0], [1 / 4, 1 / 4, 0]],
        b=[1 / 6, 1 / 6, 2 / 3],
        c=[0, 1, 1 / 2],
    )


@discretizers.register("rk4", config=RungeKuttaConfig, citation="Kutta 1901; HNW, section II.1")
class RK4(RungeKutta):
    """The classical Runge-Kutta method, order 4."""

    data = Tableau(
        "rk4",
        T=[[0, 0, 0, 0], [1 / 2, 0, 0, 0], [0, 1 / 2, 0, 0], [0, 0, 1, 0]],
        b=[1 / 6, 1 / 3, 1 / 3, 1 / 6],
        c=[0, 1 / 2, 1 / 2, 1],
    )


@discretizers.register("kutta38", config=RungeKuttaConfig, citation="Kutta 1901; HNW, section II.1")
class Kutta38(RungeKutta):
    """Kutta's 3/8 rule, order 4."""

    data = Tableau(
        "kutta38",
        T=[[0, 0, 0, 0], [1 / 3, 0, 0, 0], [-1 / 3, 1, 0, 0], [1, -1, 1, 0]],
        b=[1 / 8, 3 / 8, 3 / 8, 1 / 8],
        c=[0, 1 / 3, 2 / 3, 1],
    )


@discretizers.register(
    "dopri5",
    config=RungeKuttaConfig,
    citation="Dormand, Prince 1980, J. Comput. Appl. Math. 6:19; HNW, table II.5.2",
)
class DOPRI5(RungeKutta):
    """Dormand and Prince's method with the weights of order 5."""

    data = Tableau(  # without the seventh stage, whose weight is zero
        "dopri5",
        T=[
            [0, 0, 0, 0, 0, 0],
            [1 / 5, 0, 0, 0, 0, 0],
            [3 / 40, 9 / 40, 0, 0, 0, 0],
            [44 / 45, -56 / 15, 32 / 9, 0, 0, 0],
            [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729, 0, 0],
            [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656, 0],
        ],
        b=[35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],
        c=[0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1],
    )


# --- implicit, one and two stages ---------------------------------------------------------------


@discretizers.register("backward_euler", config=RungeKuttaConfig, citation="HW, section IV.3")
class BackwardEuler(RungeKutta):
    """Implicit Euler: A_bar = (I - hA)^-1; damps everything, resonances most."""

    data = Tableau("backward_euler", T=[[1]], b=[1], c=[1])


@discretizers.register(
    "bilinear",
    config=RungeKuttaConfig,
    citation="Gu, Goel, Re 2022, Efficiently Modeling Long Sequences with Structured State "
    "Spaces, equation 3",
    summary="S4's bilinear: another name of implicit_midpoint; not Tustin's transform.",
)
@discretizers.register(
    "gauss1",
    config=RungeKuttaConfig,
    citation="Kuntzmann 1961; Butcher 1964, Math. Comp. 18:50; HW, section IV.5",
    summary="Gauss collocation, 1 stage, order 2: another name of implicit_midpoint.",
)
@discretizers.register(
    "implicit_midpoint",
    config=RungeKuttaConfig,
    citation="Hairer, Lubich, Wanner 2006, Geometric Numerical Integration, section II.1.1",
)
class ImplicitMidpoint(RungeKutta):
    """The implicit midpoint rule, S4's "bilinear" for a held input; C and D are kept.

    A_bar = (I - hA/2)^-1 (I + hA/2), as Tustin's. With a first-order hold it has the transfer
    function of Tustin's transform.
    """

    data = Tableau("implicit_midpoint", T=[[1 / 2]], b=[1], c=[1 / 2])
    note = "held input: gain inflated by 1 / cos(theta/2) at theta radians per sample; not Tustin"


@discretizers.register(
    "trapezoid", config=RungeKuttaConfig, citation="Dahlquist 1963, BIT 3:27; HW, section IV.3"
)
class Trapezoid(RungeKutta):
    """The implicit trapezoidal rule; with hold: first, Tustin's transfer function."""

    data = Tableau("trapezoid", T=[[0, 0], [1 / 2, 1 / 2]], b=[1 / 2, 1 / 2], c=[0, 1])


# --- collocation --------------------------------------------------------------------------------

_S3, _S6, _S15 = sqrt(3), sqrt(6), sqrt(15)


@discretizers.register(
    "gauss2",
    config=RungeKuttaConfig,
    citation="Hammer, Hollingsworth 1955; HW, table IV.5.1",
)
class Gauss2(RungeKutta):
    """Gauss collocation, 2 stages, order 4: |R| = 1 on the imaginary axis."""

    data = Tableau(
        "gauss2",
        T=[[1 / 4, 1 / 4 - _S3 / 6], [1 / 4 + _S3 / 6, 1 / 4]],
        b=[1 / 2, 1 / 2],
        c=[1 / 2 - _S3 / 6, 1 / 2 + _S3 / 6],
    )


@discretizers.register(
    "gauss3",
    config=RungeKuttaConfig,
    citation="Kuntzmann 1961; Butcher 1964, Math. Comp. 18:50; HW, table IV.5.2",
)
class Gauss3(RungeKutta):
    """Gauss collocation, 3 stages, order 6: |R| = 1 on the imaginary axis."""

    data = Tableau(
        "gauss3",
        T=[
            [5 / 36, 2 / 9 - _S15 / 15, 5 / 36 - _S15 / 30],
            [5 / 36 + _S15 / 24, 2 / 9, 5 / 36 - _S15 / 24],
            [5 / 36 + _S15 / 30, 2 / 9 + _S15 / 15, 5 / 36],
        ],
        b=[5 / 18, 4 / 9, 5 / 18],
        c=[1 / 2 - _S15 / 10, 1 / 2, 1 / 2 + _S15 / 10],
    )


@discretizers.register(
    "radau2a2", config=RungeKuttaConfig, citation="Ehle 1969; Axelsson 1969; HW, table IV.5.5"
)
class RadauIIA2(RungeKutta):
    """Radau IIA collocation, 2 stages, order 3, L-stable."""

    data = Tableau(
        "radau2a2",
        T=[[5 / 12, -1 / 12], [3 / 4, 1 / 4]],
        b=[3 / 4, 1 / 4],
        c=[1 / 3, 1],
    )


@discretizers.register(
    "radau2a3", config=RungeKuttaConfig, citation="Ehle 1969; Axelsson 1969; HW, table IV.5.6"
)
class RadauIIA3(RungeKutta):
    """Radau IIA collocation, 3 stages, order 5, L-stable."""

    data = Tableau(
        "radau2a3",
        T=[
            [(88 - 7 * _S6) / 360, (296 - 169 * _S6) / 1800, (-2 + 3 * _S6) / 225],
            [(296 + 169 * _S6) / 1800, (88 + 7 * _S6) / 360, (-2 - 3 * _S6) / 225],
            [(16 - _S6) / 36, (16 + _S6) / 36, 1 / 9],
        ],
        b=[(16 - _S6) / 36, (16 + _S6) / 36, 1 / 9],
        c=[(4 - _S6) / 10, (4 + _S6) / 10, 1],
    )


@discretizers.register(
    "lobatto3c2", config=RungeKuttaConfig, citation="Chipman 1971; HW, table IV.5.11"
)
class LobattoIIIC2(RungeKutta):
    """Lobatto IIIC, 2 stages, order 2, L-stable."""

    data = Tableau("lobatto3c2", T=[[1 / 2, -1 / 2], [1 / 2, 1 / 2]], b=[1 / 2, 1 / 2], c=[0, 1])


@discretizers.register(
    "lobatto3c3", config=RungeKuttaConfig, citation="Chipman 1971; HW, table IV.5.11"
)
class LobattoIIIC3(RungeKutta):
    """Lobatto IIIC, 3 stages, order 4, L-stable."""

    data = Tableau(
        "lobatto3c3",
        T=[[1 / 6, -1 / 3, 1 / 6], [1 / 6, 5 / 12, -1 / 12], [1 / 6, 2 / 3, 1 / 6]],
        b=[1 / 6, 2 / 3, 1 / 6],
        c=[0, 1 / 2, 1],
    )


# --- singly diagonally implicit -----------------------------------------------------------------

_G2 = 1 - 1 / sqrt(2)


@discretizers.register(
    "sdirk2", config=RungeKuttaConfig, citation="Alexander 1977, SIAM J. Numer. Anal. 14:1006"
)
class SDIRK2(RungeKutta):
    """Alexander's SDIRK with gamma = 1 - 1/sqrt(2), 2 stages, order 2, L-stable."""

    data = Tableau("sdirk2", T=[[_G2, 0], [1 - _G2, _G2]], b=[1 - _G2, _G2], c=[_G2, 1])


# The root in (1/6, 1/2) of x^3 - 3 x^2 + 3 x/2 - 1/6.
_G3 = 1 + sqrt(2) * cos((acos(2 * sqrt(2) / 3) + 4 * pi) / 3)
_TAU = (1 + _G3) / 2
_W1, _W2 = -(6 * _G3**2 - 16 * _G3 + 1) / 4, (6 * _G3**2 - 20 * _G3 + 5) / 4


@discretizers.register(
    "sdirk3", config=RungeKuttaConfig, citation="Alexander 1977, SIAM J. Numer. Anal. 14:1006"
)
class SDIRK3(RungeKutta):
    """Alexander's SDIRK, 3 stages, order 3, L-stable."""

    data = Tableau(
        "sdirk3",
        T=[[_G3, 0, 0], [_TAU - _G3, _G3, 0], [_W1, _W2, _G3]],
        b=[_W1, _W2, _G3],
        c=[_G3, _TAU, 1],
    )


_GC = (3 + sqrt(3)) / 6


@discretizers.register(
    "crouzeix",
    config=RungeKuttaConfig,
    citation="Crouzeix 1975, thesis, Paris; Norsett 1974; HNW, table II.7.2",
)
class Crouzeix(RungeKutta):
    """Crouzeix's SDIRK with gamma = (3 + sqrt 3)/6, 2 stages, order 3, A-stable."""

    data = Tableau("crouzeix", T=[[_GC, 0], [1 - 2 * _GC, _GC]], b=[1 / 2, 1 / 2], c=[_GC, 1 - _GC])
