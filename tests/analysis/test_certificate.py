"""The algebra of upper bounds."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmbench.analysis.certificate import IDENTITY, Bound

values = st.floats(0, 1e308)
finite = st.builds(Bound, values)
missing = st.builds(Bound.none, st.text(min_size=1))
bounds = st.one_of(finite, missing)
RULES = [Bound.then, Bound.plus]
rules = st.sampled_from(RULES)


@given(finite, finite)
def test_then_multiplies_and_plus_adds(a, b):
    for found, expected in ((a.then(b), a.value * b.value), (a.plus(b), a.value + b.value)):
        assert found.value == expected
        assert found.finite == math.isfinite(expected)


@given(rules, bounds, bounds, bounds)
def test_monotone_in_both_arguments(rule, a, b, c):
    low, high = sorted((a, b), key=lambda bound: bound.value)
    assert rule(low, c).value <= rule(high, c).value
    assert rule(c, low).value <= rule(c, high).value


@given(rules, bounds, bounds)
def test_never_nan_and_infinite_exactly_with_a_reason(rule, a, b):
    found = rule(a, b)
    assert not math.isnan(found.value)
    assert found.value >= 0
    assert (found.reason == "") == found.finite


@given(rules, missing, finite)
def test_none_absorbs_and_keeps_its_reason(rule, none, bound):
    for found in (rule(none, bound), rule(bound, none)):
        assert found.value == math.inf
        assert found.reason == none.reason


@given(rules, missing, missing)
def test_first_reason_is_kept(rule, first, second):
    assert rule(first, second).reason == first.reason


@pytest.mark.parametrize("rule", RULES)
def test_zero_does_not_hide_a_missing_bound(rule):
    """0 times infinity is not known to be 0."""
    none = Bound.none("why")
    assert rule(Bound(0.0), none) == rule(none, Bound(0.0)) == none


@given(bounds)
def test_identity_and_nothing(bound):
    assert IDENTITY.then(bound) == bound.then(IDENTITY) == bound
    assert Bound(0.0).plus(bound) == bound.plus(Bound(0.0)) == bound


@pytest.mark.parametrize("rule", RULES)
def test_overflow_says_so(rule):
    found = rule(Bound(1.7e308), Bound(1.7e308))
    assert found.value == math.inf
    assert "overflow" in found.reason


def test_infinity_without_a_reason_gets_one():
    assert Bound(math.inf).then(IDENTITY).reason


def test_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        Bound(math.nan)
