"""Intervals, tests and corrections against scipy, brute force and cases by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ssmbench.report.resampling import (
    LEVEL,
    MOST_ENUMERATED,
    holm,
    least_p,
    mean_interval,
    pairs_needed,
    sign_flip_p,
)

values = st.floats(-100, 100).map(lambda x: round(x, 3))
shares = st.floats(0, 1)
ROUNDING = 1e-9


def test_an_interval_is_that_of_scipy_up_to_its_random_numbers():
    data = np.random.default_rng(1).normal(size=12)
    mine = mean_interval(list(data))
    theirs = stats.bootstrap(
        (data,), np.mean, method="percentile", n_resamples=9999, rng=np.random.default_rng(2)
    ).confidence_interval
    # The standard error of a 2.5% quantile of 9,999 normal draws is 0.027 of their deviation.
    error = 5 * 0.027 * np.sqrt(2) * data.std() / np.sqrt(12)
    assert (mine.low, mine.high) == pytest.approx(theirs, abs=error)


@settings(max_examples=50)
@given(st.lists(values, min_size=2, max_size=12), st.floats(-10, 10))
def test_an_interval_contains_the_mean_and_moves_with_the_values(data, shift):
    found = mean_interval(data)
    assert found.low <= np.mean(data) <= found.high
    assert min(data) - ROUNDING <= found.low
    assert found.high <= max(data) + ROUNDING
    moved = mean_interval([x + shift for x in data])
    assert (moved.low, moved.high) == pytest.approx((found.low + shift, found.high + shift))
    assert mean_interval(data) == found


def test_no_interval_of_one_value_or_of_infinite_ones():
    assert mean_interval([]) is mean_interval([1.0]) is mean_interval([1.0, np.inf]) is None
    two = mean_interval([1.0, 2.0])
    assert (two.low, two.high) == (1.0, 2.0)
    same = mean_interval([0.1] * 3)
    assert (same.low, same.high) == pytest.approx((0.1, 0.1))


@settings(max_examples=50)
@given(st.lists(values, min_size=1, max_size=8))
def test_a_p_value_counts_all_sign_flips(differences):
    data = np.asarray(differences)
    flipped = [
        abs(sum(s * x for s, x in zip(signs, data, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(data))
    ]
    expected = np.mean([total >= abs(data.sum()) - ROUNDING for total in flipped])
    assert sign_flip_p(differences) == pytest.approx(expected)
    assert sign_flip_p([-x for x in differences]) == sign_flip_p(differences)
    assert sign_flip_p(differences[::-1]) == sign_flip_p(differences)
    assert sign_flip_p(differences) >= least_p(len(differences))


def test_a_p_value_is_that_of_scipy():
    data = np.random.default_rng(3).normal(0.7, size=9)
    theirs = stats.permutation_test(
        (data,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_p(list(data)) == pytest.approx(theirs.pvalue)


def test_a_p_value_of_many_pairs_is_estimated():
    data = np.random.default_rng(4).normal(0.4, size=MOST_ENUMERATED + 6)
    exact = sign_flip_p(list(data[:MOST_ENUMERATED]))
    assert 0 < exact < 1
    theirs = stats.ttest_1samp(data, 0).pvalue
    # Of normal values the two tests agree; the p-value of 2^14 flips has an error of at most 0.4%.
    assert sign_flip_p(list(data)) == pytest.approx(theirs, abs=0.015)
    assert sign_flip_p([1.0] * 40) == pytest.approx(1 / (2**MOST_ENUMERATED + 1))


def test_five_seeds_can_show_nothing_and_six_can():
    assert sign_flip_p([1, 2, 3, 4, 5]) == least_p(5) == 0.0625 > LEVEL
    assert sign_flip_p([1, 2, 3, 4, 5, 6]) == least_p(6) == 0.03125 <= LEVEL
    assert pairs_needed() == 6
    assert sign_flip_p([]) == sign_flip_p([1.0]) == 1.0


@given(st.integers(1, 500))
def test_the_pairs_needed_are_the_fewest(tests):
    needed = pairs_needed(tests)
    assert tests * least_p(needed) <= LEVEL < tests * least_p(needed - 1)


@given(st.lists(shares, max_size=12))
def test_adjusted_p_values_keep_the_order_and_are_no_smaller(p):
    adjusted = holm(p)
    assert all(raw <= one <= 1 for raw, one in zip(p, adjusted, strict=True))
    for (a, b), (x, y) in itertools.product(zip(p, adjusted, strict=True), repeat=2):
        assert not (a < x and b > y)
    rejected = {i for i, one in enumerate(adjusted) if one <= LEVEL}
    assert rejected == step_down(p)


def step_down(p: list[float]) -> set[int]:
    """What Holm's procedure rejects, as he describes it."""
    rejected: set[int] = set()
    for place, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        if min(1.0, (len(p) - place) * p[index]) > LEVEL:
            break
        rejected.add(index)
    return rejected


def test_adjusted_p_values_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
