"""Exponential sums with fewer terms, against mpmath, scipy and their own values."""

from __future__ import annotations

import dataclasses

import mpmath
import numpy as np
import pytest
import scipy.linalg

import ssmbench as sb
from ssmbench import jsonio
from ssmbench.errors import UsageError
from ssmbench.reduction import Amount
from ssmbench.reduction.sum_files import load_sum, save_sum
from ssmbench.reduction.sums import ExponentialSum, reduce_sum
from tests.tools import load_tool


def drawn(seed, terms=200):
    """The terms of seed 003: Re a in [0.1, 10], Im a and c normal."""
    rng = np.random.default_rng(seed)
    a = rng.uniform(0.1, 10, terms) + 1j * rng.standard_normal(terms)
    return ExponentialSum(a, rng.standard_normal(terms) + 1j * rng.standard_normal(terms))


def real_sum(seed):
    whole = drawn(seed, 30)
    a, c = whole.a, whole.c
    return ExponentialSum(
        np.concatenate([a, a.real[:9], a.conj()]), np.concatenate([c, c.real[:9], c.conj()])
    )


def test_singular_values_are_right_to_1e_8_down_to_1e_20_of_the_largest():
    given = drawn(0, 30)
    found = reduce_sum(given, Amount(order=5)).hankel
    exact = in_50_digits(given)
    known = exact > 1e-20 * exact[0]
    assert 15 < known.sum() < 30
    assert np.abs(found / exact - 1)[known].max() < 1e-8


def in_50_digits(given):
    """The con-eigenvalues of the Cauchy matrix, from its Cholesky factor in 80 digits."""
    with mpmath.workdps(80):
        a = [mpmath.mpc(complex(z)) for z in given.a]
        b = [mpmath.sqrt(mpmath.mpc(complex(z))) for z in given.c]
        n = range(len(a))
        X = [[b[i] * b[j].conjugate() / (a[i] + a[j].conjugate()) for j in n] for i in n]
        L = mpmath.cholesky(mpmath.matrix(X))
        return np.array([float(s) for s in mpmath.svd_c(L.T * L, compute_uv=False)])


def test_a_real_sum_has_the_singular_values_of_its_lyapunov_equations():
    given = real_sum(1)
    X, Y = (
        scipy.linalg.solve_continuous_lyapunov(-np.diag(m), -np.outer(v, v.conj()))
        for m, v in ((given.a, np.ones(69)), (given.a.conj(), given.c.conj()))
    )
    expected = np.sqrt(np.sort(np.linalg.eigvals(X @ Y).real)[::-1][:8])
    assert np.allclose(reduce_sum(given, Amount(order=8)).hankel[:8], expected, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_error_is_below_the_bound_and_the_bound_below_the_tolerance(seed):
    found = reduce_sum(drawn(seed), Amount(tolerance=1e-3))
    assert 8 <= len(found.sum) <= 18
    assert found.hinf_error <= found.bound * (1 + 1e-8)
    assert found.bound <= 1e-3 < 2 * found.hankel[len(found.sum) - 1 :].sum()
    assert found.sum.a.real.min() > 0


def test_the_bound_does_not_hold_at_every_time():
    """What the page says, so that nobody takes the bound for one of |f(t) - g(t)|."""
    found = reduce_sum(drawn(0), Amount(tolerance=1e-3))
    assert found.sup_error > 2 * found.bound


def test_the_measured_errors_are_those_of_the_values():
    given = drawn(4)
    found = reduce_sum(given, Amount(order=6))
    t = np.linspace(0, 60, 20001)
    apart = given(t) - found.sum(t)
    assert found.sup_error >= np.abs(apart).max() * (1 - 1e-12)
    assert found.sup_error == pytest.approx(np.abs(apart).max(), rel=1e-2)
    there = (given - found.sum)(np.array([found.sup_time]))[0]
    assert found.sup_error == pytest.approx(abs(there), rel=1e-12)
    s = 1j * np.linspace(-40, 40, 4001)
    response = (found.sum.c / (s[:, None] + found.sum.a)).sum(1)
    apart = np.abs((given.c / (s[:, None] + given.a)).sum(1) - response).max()
    assert apart <= found.hinf_error * (1 + 1e-12)
    assert found.hinf_error == pytest.approx(apart, rel=1e-3)


def test_a_real_sum_stays_real():
    given = real_sum(2)
    assert given.is_real()
    found = reduce_sum(given, Amount(tolerance=1e-2))
    assert found.sum.is_real()
    assert np.abs(found.sum(np.linspace(0, 5, 7)).imag).max() < 1e-12
    assert found.hinf_error <= found.bound * (1 + 1e-8)


def test_a_relative_tolerance_is_of_the_largest_singular_value():
    given = drawn(5)
    largest = reduce_sum(given, Amount(order=1)).hankel[0]
    relative = reduce_sum(given, Amount(tolerance=1e-4, relative=True))
    assert len(relative.sum) == len(reduce_sum(given, Amount(tolerance=1e-4 * largest)).sum)


def test_equal_terms_are_joined():
    given = ExponentialSum(np.full(6, 2.0), np.ones(6))
    found = reduce_sum(given, Amount(tolerance=1e-9))
    assert found.sum.a == pytest.approx([2.0])
    assert found.sum.c == pytest.approx([6.0])


@pytest.mark.parametrize("speed", [1e-140, 1e140])
@pytest.mark.parametrize("size", [1e-140, 1e140])
def test_units_do_not_matter(speed, size):
    given = drawn(6, 40)
    plain = reduce_sum(given, Amount(order=5))
    found = reduce_sum(ExponentialSum(speed * given.a, size * given.c), Amount(order=5))
    assert found.hankel == pytest.approx(plain.hankel * size / speed, rel=1e-9, abs=0)
    assert found.hinf_error == pytest.approx(plain.hinf_error * size / speed, rel=1e-6)
    assert found.sup_error == pytest.approx(plain.sup_error * size, rel=1e-6)


def test_nothing_is_kept_of_a_sum_below_the_tolerance():
    found = reduce_sum(ExponentialSum(np.ones(3), np.full(3, 1e-9)), Amount(tolerance=1.0))
    assert len(found.sum) == 0
    assert found.sup_error == pytest.approx(3e-9)


# --- files and the command ----------------------------------------------------------------------


def test_a_file_keeps_a_sum(tmp_path):
    given = drawn(7, 5)
    save_sum(tmp_path / "sum.npz", given)
    again = load_sum(tmp_path / "sum.npz")
    assert np.array_equal(again.a, given.a)
    assert np.array_equal(again.c, given.c)


REFUSED = {
    "a key": ({"b": np.ones(2)}, "unknown key 'b'"),
    "missing": ({"c": None}, "missing c (found: a)"),
    "shapes": ({"c": np.ones(3)}, "a has shape (2,) and c (3,)"),
    "matrix": ({"a": np.ones((2, 2)), "c": np.ones((2, 2))}, "two arrays of one length"),
    "grows": ({"a": np.array([1.0, -0.5])}, "a[1] is -0.5"),
    "not finite": ({"c": np.array([1.0, np.nan])}, "c holds 1 NaN"),
    "empty": ({"a": np.ones(0), "c": np.ones(0)}, "the sum has no terms"),
    "text": ({"a": np.array(["x", "y"])}, "a has dtype"),
    "too many": ({"a": np.ones(4097), "c": np.ones(4097)}, "at most 4096"),
    "span": ({"a": np.array([1e-200, 1e100])}, "orders of magnitude"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_sum_is_answered_in_one_line(case, ssmbench, workplace):
    changes, says = REFUSED[case]
    given = {"a": np.ones(2), "c": np.ones(2)} | changes
    np.savez("sum.npz", **{key: value for key, value in given.items() if value is not None})
    answer = ssmbench("reduce", "sum.npz", "--tol", 1e-3, "--output", "small.npz")
    assert answer.code == 2
    assert len(answer.err.strip().splitlines()) == 1
    assert says in answer.err
    assert not (workplace / "small.npz").exists()


@pytest.mark.parametrize("flags", [(), ("--tol", 1e-3, "--order", 3), ("--share", 1.5)], ids=str)
def test_the_command_needs_one_amount(flags, ssmbench, workplace):
    save_sum("sum.npz", drawn(8, 9))
    answer = ssmbench("reduce", "sum.npz", *flags)
    assert answer.code == 2
    assert len(answer.err.strip().splitlines()) == 1


def test_the_command_writes_what_it_says(ssmbench, workplace):
    given = drawn(9)
    save_sum("sum.npz", given)
    answer = ssmbench("reduce", "sum.npz", "--tol", 1e-3, "--output", "small.npz", "--json")
    about = jsonio.loads(answer.out)
    small = load_sum("small.npz")
    assert (about["terms"], about["order"]) == (200, len(small))
    assert (given - small).gain() == pytest.approx(about["hinf_error"], rel=1e-9)
    assert about["hinf_error"] <= about["bound"] <= 1e-3
    table = ssmbench("reduce", "sum.npz", "--order", 4)
    assert "sup_error" in table.out


def test_the_library_takes_arrays():
    given = drawn(10, 40)
    found = sb.reduce_exponentials((given.a, given.c), 1e-2)
    assert found.bound <= 1e-2
    with pytest.raises(UsageError, match="allowed: one of"):
        sb.reduce_exponentials((given.a, given.c))


def test_the_tool_counts_what_it_says():
    tool = load_tool("exponential_sums")
    found = [reduce_sum(tool.draw(seed, 30), Amount(tolerance=1e-2)) for seed in range(2)]
    lines = tool.summary(found, [1e-2, 1e-2])
    orders = sorted(len(one.sum) for one in found)
    assert f"{orders[0]} / " in lines[0]
    assert lines[3].split()[-1] == "0"
    wrong = [dataclasses.replace(one, bound=one.hinf_error / 2) for one in found]
    assert tool.summary(wrong, [1e-2, 1e-2])[3].split()[-1] == "2"


def test_a_limit_of_the_measured_error_keeps_fewer_terms():
    given = drawn(11)
    plain, fewer = (
        reduce_sum(given, Amount(tolerance=1e-2, measured=measured)) for measured in (False, True)
    )
    assert len(fewer.sum) <= len(plain.sum)
    assert fewer.hinf_error <= 1e-2
    assert fewer.bound >= plain.bound
    less = reduce_sum(given, Amount(order=len(fewer.sum) - 1))
    assert less.hinf_error > 1e-2


# --- rounding -----------------------------------------------------------------------------------


def spread(seed, terms=20):
    """Exponents over eight orders of magnitude."""
    rng = np.random.default_rng(seed)
    return ExponentialSum(10 ** rng.uniform(-6, 2, terms), rng.standard_normal(terms))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-9])
def test_the_error_is_within_the_tolerance_whatever_rounding_does(seed, tolerance):
    found = reduce_sum(spread(seed), Amount(tolerance=tolerance))
    assert found.hinf_error <= tolerance
    assert found.bound <= tolerance


def test_rounding_that_exceeds_the_bound_is_said():
    given = spread(0)
    found = reduce_sum(given, Amount(order=18))
    assert found.hinf_error > 10 * found.bound
    assert found.above_bound
    assert not reduce_sum(drawn(0), Amount(order=10)).above_bound
    whole = reduce_sum(given, Amount(order=20))
    assert np.array_equal(whole.sum.a, given.a)
    assert (whole.hinf_error, whole.sup_error, whole.above_bound) == (0, 0, False)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("a", [(1, 1), (1 + 1j, 1 + 1j), (3, 3)], ids=str)
def test_terms_that_cancel_are_removed(a, order):
    found = reduce_sum(ExponentialSum(np.array(a), np.array([1, -1])), Amount(tolerance=1e-12))
    assert len(found.sum) == 0
    assert found.hinf_error == 0 or found.hinf_error < 1e-15
    few = reduce_sum(ExponentialSum(np.array(a), np.array([1, -1])), Amount(order=order))
    assert few.sum.largest()[0] < 1e-15


def test_coefficients_beyond_the_range_have_an_error_of_their_own():
    given = ExponentialSum([1.0, 1.0], [1e308, 1e308])
    with pytest.raises(UsageError, match="exceeds the range of float64"):
        reduce_sum(given, Amount(order=1))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((["a"], ["b"]), "a is no array of numbers"),
        (([[1], [1, 2]], [1, 1]), "a is no array of numbers"),
        (([1], [1], [2]), "a pair of arrays"),
        (3, "a pair of arrays"),
    ],
    ids=str,
)
def test_what_is_no_pair_of_arrays_is_said(given, says):
    with pytest.raises(UsageError, match=says):
        sb.reduce_exponentials(given, 1e-3)


def test_any_pair_is_a_sum():
    assert len(sb.reduce_exponentials([[1.0, 1.0], [1.0, 2.0]], 1e-3).sum) == 1
    assert len(sb.reduce_exponentials(np.ones((2, 3)), 1e-3).sum) == 1
