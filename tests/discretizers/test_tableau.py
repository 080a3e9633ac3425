"""Tableaux: their own checks, their orders, their conjugates."""

from __future__ import annotations

import numpy as np
import pytest

from ssmbench import registry
from ssmbench.discretizers.chebyshev import first_order, second_order
from ssmbench.discretizers.runge_kutta import RungeKutta
from ssmbench.discretizers.tableau import Tableau, trees
from ssmbench.errors import UsageError

METHODS = {e.name: e for e in registry.discretizers if issubclass(e.factory, RungeKutta)}
HEUN = {"T": [[0, 0], [1, 0]], "b": [1 / 2, 1 / 2], "c": [0, 1]}

BAD = {
    "c": ({"c": [0, 0.9]}, r"c\[1\] is 0.9, but row 1 of T sums to 1"),
    "T": ({"T": [[0, 0], [0.9, 0]]}, r"c\[1\] is 1, but row 1 of T sums to 0.9"),
    "b": ({"b": [0.5, 0.4]}, r"b sums to 0.9"),
    "too few stages": ({"T": [[0]]}, r"T has shape \(1, 1\); with the 2 stages of b"),
    "c of another length": ({"c": [0]}, r"c has shape \(1,\)"),
    "ragged": ({"T": [[0], [1, 0]]}, "T must be numbers in equal rows"),
    "infinite": ({"c": [0, float("inf")]}, "c must be finite"),
    "empty": ({"T": [], "b": [], "c": []}, "b has shape"),
}


@pytest.mark.parametrize("case", BAD)
def test_an_inconsistent_tableau_is_refused_with_the_reason(case):
    changed, says = BAD[case]
    with pytest.raises(UsageError, match=f"tableau typo: .*{says}"):
        Tableau("typo", **(HEUN | changed))


def test_a_tableau_cannot_be_changed_afterwards():
    tableau = Tableau("heun", **HEUN)
    with pytest.raises(ValueError, match="read-only"):
        tableau.T[1, 0] = 2


def test_rooted_trees_are_counted_as_in_the_literature():
    """OEIS A000081."""
    assert [len(trees(n)) for n in range(1, 8)] == [1, 1, 2, 4, 9, 20, 48]


@pytest.mark.parametrize("name", METHODS)
def test_order_conditions_agree_with_the_stability_function(name):
    method = METHODS[name].build()
    assert method.tableau.order() == method.facts.order


def test_a_wrong_digit_lowers_the_order():
    rk4 = METHODS["rk4"].factory.data
    assert rk4.order() == 4
    b = rk4.b + np.array([1e-6, -1e-6, 0, 0])
    assert Tableau("typo", rk4.T, b, rk4.c).order() == 1


@pytest.mark.parametrize("stages", [2, 5, 10, 30])
@pytest.mark.parametrize("damping", [0.0, 2 / 13])
def test_unrolled_chebyshev_tableaux_have_their_order(stages, damping):
    assert first_order(stages, damping).order() == 1
    assert second_order(stages, damping).order() == 2


# --- conjugates ---------------------------------------------------------------------------------

CONJUGATED = [n for n, e in METHODS.items() if e.build().tableau.b.all()]


def R(tableau, z):
    """The stability function by its definition, in NumPy."""
    ones = np.ones(tableau.stages)
    return 1 + z * tableau.b @ np.linalg.solve(np.eye(tableau.stages) - z * tableau.T, ones)


@pytest.mark.parametrize("name", CONJUGATED)
def test_the_conjugate_keeps_the_pairing_of_states_and_adjoints(name):
    tableau = METHODS[name].build().tableau
    conjugate = tableau.costate_tableau()
    b = tableau.b
    left = b[:, None] * conjugate.T + b[None, :] * tableau.T.T
    np.testing.assert_allclose(left, np.outer(b, b), rtol=0, atol=1e-12 * np.abs(tableau.T).max())
    np.testing.assert_allclose(conjugate.costate_tableau().T, tableau.T, rtol=0, atol=1e-10)
    # x' = lam x forwards and l' = -lam l by the conjugate: l x is the same number after a step
    for z in (-0.7, -0.3 + 0.9j, 0.4j):
        assert R(conjugate, -z) * R(tableau, z) == pytest.approx(1, rel=1e-9)


def test_gauss_and_the_implicit_midpoint_are_their_own_conjugates():
    for name in ("implicit_midpoint", "gauss2", "gauss3"):
        tableau = METHODS[name].build().tableau
        np.testing.assert_allclose(tableau.costate_tableau().T, tableau.T, atol=1e-14)


def test_a_zero_weight_has_no_conjugate():
    with pytest.raises(UsageError, match="b is zero at stage 0"):
        METHODS["explicit_midpoint"].build().tableau.costate_tableau()
