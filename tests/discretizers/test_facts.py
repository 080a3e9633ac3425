"""Computed facts: the table of the literature, and exact polynomials as an oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.polynomial import Chebyshev, Polynomial

from ssmbench import registry
from ssmbench.discretizers.runge_kutta import Hold, RungeKutta

INF, SQRT2, SQRT3 = math.inf, math.sqrt(2), math.sqrt(3)
METHODS = {e.name: e for e in registry.discretizers if issubclass(e.factory, RungeKutta)}

#: name: order, stability, real and imaginary interval, H-infinity norm of the discretized
#: resonator over that of the continuous one (omega 1, sigma 0.02, h 1).
TABLE = {
    "forward_euler": (1, "", 2, 0, INF),
    "heun": (2, "", 2, 0, INF),
    "explicit_midpoint": (2, "", 2, 0, INF),
    "ssprk33": (3, "", 2.5127, SQRT3, 0.383),
    "rk4": (4, "", 2.785294, 2 * SQRT2, 0.7446),
    "kutta38": (4, "", 2.785294, 2 * SQRT2, 0.7446),
    "dopri5": (5, "", 3.3066, 0.997, 0.957),
    "backward_euler": (1, "L", INF, INF, 0.055),
    "implicit_midpoint": (2, "A", INF, INF, 1.118),
    "bilinear": (2, "A", INF, INF, 1.118),
    "trapezoid": (2, "A", INF, INF, 1.118),
    "tustin": (2, "A", INF, INF, 1.0),
    "gbt": (1, "A", INF, INF, 0.171),
    "gauss1": (2, "A", INF, INF, 1.118),
    "gauss2": (4, "A", INF, INF, 0.964),
    "gauss3": (6, "A", INF, INF, 0.959),
    "radau2a2": (3, "L", INF, INF, 0.598),
    "radau2a3": (5, "L", INF, INF, 0.953),
    "lobatto3c2": (2, "L", INF, INF, 0.158),
    "lobatto3c3": (4, "L", INF, INF, 0.916),
    "sdirk2": (2, "L", INF, INF, 0.882),
    "sdirk3": (3, "L", INF, INF, 0.517),
    "crouzeix": (3, "A", INF, INF, 0.354),
    "zoh": (INF, "L", INF, INF, 0.959),
    "foh": (INF, "L", INF, INF, 0.919),
    "rkc1": (1, "", 50, 0, INF),
    "rkc2": (2, "", 16.60, 0, INF),
}


def facts_of(name: str, **options):
    entry = registry.discretizers.get(name)
    return entry.build(entry.config(**options)).facts


@pytest.mark.parametrize("name", TABLE)
def test_facts_are_those_of_the_table(name):
    order, stability, real, imaginary, distortion = TABLE[name]
    facts = facts_of(name)
    assert facts.order == order
    assert (facts.a_stable, facts.l_stable) == (stability in ("A", "L"), stability == "L")
    assert facts.real_interval == pytest.approx(real, rel=2e-4 if name == "rkc2" else 2e-5)
    assert facts.imaginary_interval == pytest.approx(imaginary, rel=2e-4)
    assert facts.gain_distortion == pytest.approx(distortion, abs=5.1e-4)
    assert facts.preserves_gain == (name == "tustin")


def test_the_table_has_every_tableau():
    assert set(METHODS) <= set(TABLE)


@pytest.mark.parametrize("stages", [1, 2, 3, 10, 20])
def test_chebyshev_of_order_1_is_stable_for_twice_the_stages_squared(stages):
    assert facts_of("rkc1", stages=stages).real_interval == pytest.approx(2 * stages**2, rel=1e-9)


@pytest.mark.parametrize("stages", [2, 4, 10])
def test_chebyshev_of_order_2_is_stable_up_to_its_polynomials_return(stages):
    """For even s, R comes back to 1 where w0 + w1 z = -w0: 64.738 for 10 stages."""
    w0 = 1 + 2 / 13 / stages**2
    T = Chebyshev.basis(stages)
    w1 = T.deriv()(w0) / T.deriv(2)(w0)
    assert facts_of("rkc2", stages=stages).real_interval == pytest.approx(2 * w0 / w1, rel=1e-9)


@pytest.mark.parametrize(
    ("alpha", "distortion", "a_stable"), [(0.75, 0.083, True), (0.5, 1.0, True), (0.4, INF, False)]
)
def test_facts_follow_the_options(alpha, distortion, a_stable):
    facts = facts_of("gbt", alpha=alpha)
    assert facts.gain_distortion == pytest.approx(distortion, abs=6e-4)
    assert (facts.a_stable, facts.preserves_gain) == (a_stable, alpha == 0.5)
    assert facts.order == (2 if alpha == 0.5 else 1)
    # theta method: |1 + (1 - alpha) z| = |1 - alpha z| at z = -2 / (1 - 2 alpha)
    assert facts.real_interval == pytest.approx(10 if alpha == 0.4 else INF)


@pytest.mark.parametrize("name", ["trapezoid", "implicit_midpoint"])
def test_with_a_first_order_hold_the_trapezoid_and_the_midpoint_preserve_the_gain(name):
    assert facts_of(name, hold=Hold.first).preserves_gain
    assert not facts_of(name, hold=Hold.zero).preserves_gain


def test_facts_are_computed_once():
    method = registry.discretizers.get("rk4").build()
    assert method.facts is method.facts


def test_describe_gives_the_facts_under_default_options():
    about = registry.describe(registry.discretizers.get("rkc1"))
    assert about["options"] == {"hold": "zero", "stages": 5, "damping": 0.0}
    assert about["facts"]["real_interval"] == pytest.approx(50)


# --- exact polynomials --------------------------------------------------------------------------


def numerator_and_denominator(tableau) -> tuple[Polynomial, Polynomial]:
    """R = P / Q with P = det(I - z T + z 1 b'), Q = det(I - z T)."""
    P = np.poly(tableau.T - np.outer(np.ones(tableau.stages), tableau.b))
    return Polynomial(P), Polynomial(np.poly(tableau.T))


def on_the_axis(polynomial: Polynomial) -> Polynomial:
    """|p(i y)|^2 as a polynomial in y."""
    c = polynomial.coef
    real = Polynomial([v * (1, 0, -1, 0)[k % 4] for k, v in enumerate(c)])
    imaginary = Polynomial([v * (0, 1, 0, -1)[k % 4] for k, v in enumerate(c)])
    return real**2 + imaginary**2


@pytest.mark.parametrize("name", METHODS)
def test_a_stability_is_that_of_the_e_polynomial(name):
    """|Q(iy)|^2 - |P(iy)|^2 >= 0, and no pole in the left half-plane (HW, section IV.3)."""
    method = METHODS[name].build()
    P, Q = numerator_and_denominator(method.tableau)
    E = on_the_axis(Q) - on_the_axis(P)
    y = np.logspace(-2, 4, 500)
    scale = on_the_axis(Q)(y) + on_the_axis(P)(y)
    poles = Q.trim(1e-13).roots()
    exact = bool((E(y) >= -1e-12 * scale).all() and (poles.real > 0).all())
    assert method.facts.a_stable == exact


@pytest.mark.parametrize("name", [n for n, row in TABLE.items() if 0 < row[3] < INF])
def test_the_imaginary_interval_ends_at_a_root_of_the_e_polynomial(name):
    method = METHODS[name].build()
    P, Q = numerator_and_denominator(method.tableau)
    E = on_the_axis(Q) - on_the_axis(P)
    assert abs(E(method.facts.imaginary_interval)) < 1e-9
