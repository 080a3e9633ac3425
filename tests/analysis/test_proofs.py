"""What is proved of a system, against closed forms and libraries that are not ours."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench.analysis import ball, dense_proofs, proofs
from ssmbench.analysis.gain import analyse
from ssmbench.analysis.rounding import rounding_gain
from ssmbench.analysis.upper_bound import hinf_bound
from ssmbench.systems import DiscreteDiagonal
from tests.analysis.systems_for_tests import dense, diagonal, random_matrices


def same(found: float, expected: float) -> bool:
    return found == pytest.approx(expected, rel=1e-6)


# --- cases that were wrong ----------------------------------------------------------------------


def test_h2_of_a_narrow_filter_agrees_with_slycot():
    slycot = pytest.importorskip("slycot")
    A, B, C, D = scipy.signal.tf2ss(*scipy.signal.butter(4, 0.001))
    report = analyse(dense(A, B, C, D, discrete=True))
    expected = slycot.ab13bd("D", "H", 4, 1, 1, A, B, C, D)
    assert report.h2 == pytest.approx(expected, rel=1e-5)  # slycot's own rounding is 2e-6
    assert report.h2 == pytest.approx(0.03203391319674056, rel=1e-12)  # mpmath, 60 digits
    assert report.unproved == ()


def test_an_unstable_system_of_large_entries_is_called_unstable():
    A = [[10621711.976473378, 6702057.482515994], [-16833748.65969173, -10621710.644515045]]
    report = analyse(dense(A, [[1.0], [0.0]], [[1.0, 0.0]], [[0.0]], discrete=True))
    assert report.stable is False
    assert report.spectral_radius == pytest.approx(1.00810076867, rel=1e-10)  # mpmath, 60 digits
    assert math.isinf(report.hinf)


@pytest.mark.parametrize("shear", [0.0, 1.0, 1e4, 1e8, 2.0**40])
def test_hidden_shear_changes_nothing(shear):
    A = 0.5 * np.eye(2) + shear * np.array([[1, 1], [-1, -1]])
    report = analyse(dense(A, np.ones((2, 1)), np.ones((1, 2)), [[0.0]], discrete=True))
    assert same(report.hinf, 4.0)  # 2 / (z - 0.5) at z = 1
    assert same(report.h2, math.sqrt(16 / 3))
    assert report.unproved == ()


@pytest.mark.parametrize("speed", [1.0, 1e-10, 1e-12, 1e-15, 1e-300, 1e200])
def test_the_unit_of_time_changes_nothing(speed):
    A = np.array([[0.0, 1.0], [-1.0, -0.02]]) * speed
    report = analyse(dense(A, [[0.0], [speed]], [[1.0, 0.0]], [[0.0]], discrete=False))
    peak = 1 / (2 * 0.01 * math.sqrt(1 - 0.01**2))
    assert same(report.hinf, peak)
    assert report.hinf_lower_bound <= peak * (1 + 1e-15)
    assert peak * (1 - 1e-15) <= report.hinf_upper_bound <= peak * (1 + 1e-6)
    assert report.peak_frequency == pytest.approx(speed * math.sqrt(1 - 2 * 0.01**2), rel=1e-3)


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e-12, 1.0, 1e150, 1e200])
def test_the_units_of_input_and_output_change_nothing(size):
    report = analyse(dense([[0.5]], [[size]], [[1 / size]], [[0.25]], discrete=True))
    assert same(report.hinf, 2.25)
    assert same(report.h2, math.sqrt(4 / 3 + 0.0625))
    assert report.unproved == ()


def test_a_gain_beyond_the_range_of_numbers_is_not_given():
    report = analyse(dense([[0.5]], [[1e300]], [[1e300]], [[0.0]], discrete=True))
    assert report.stable
    assert {"hinf", "h2"} <= set(report.unproved)


def test_integrators_are_unstable_and_not_unproved():
    for A in ([[1.0]], [[1.0, 1.0], [0.0, 1.0]], [[0.0, 1.0], [-1.0, 0.0]]):
        n = len(A)
        report = analyse(dense(A, np.ones((n, 1)), np.ones((1, n)), [[0.0]], discrete=True))
        assert report.stable is False
        assert math.isinf(report.hinf)


@pytest.mark.parametrize("pole", [0.5, 1.0, 3.0])
def test_a_system_that_no_input_drives_has_the_gain_of_d(pole):
    report = analyse(
        diagonal([[pole]], np.zeros((1, 1, 1)), np.ones((1, 1, 1)), [[[3.0]]], discrete=True)
    )
    assert report.stable == (pole < 1)
    assert report.hinf <= 3.0 <= report.hinf_upper_bound <= report.hinf * (1 + 1e-12)


@pytest.mark.parametrize("discrete", [True, False])
def test_systems_without_states_are_their_d(discrete):
    D = np.array([[1.0, 2.0], [3.0, 4.0]])
    nothing = (np.zeros((0, 0)), np.zeros((0, 2)), np.zeros((2, 0)))
    report = analyse(dense(*nothing, D, discrete=discrete))
    assert report.hinf == pytest.approx(np.linalg.norm(D, 2), rel=1e-12)
    assert report.stable
    assert report.h2 == (pytest.approx(np.linalg.norm(D)) if discrete else math.inf)


def test_all_that_is_not_known_is_called_unproved():
    # Four thousandths of a rounding from the boundary, and too large for exact arithmetic.
    rng = np.random.default_rng(0)
    A = np.triu(rng.standard_normal((80, 80)) * 1e3, 1) + np.diag(np.full(80, 1 - 1e-16))
    report = analyse(dense(A, np.ones((80, 1)), np.ones((1, 80)), [[0.0]], discrete=True))
    assert report.stable is None
    assert {"stable", "hinf", "h2"} <= set(report.unproved)
    assert report.to_dict()["stable"] == "unproved"


def test_large_systems_near_the_end_of_the_range_are_right_or_unproved():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((40, 40))
    A *= 0.5 / abs(np.linalg.eigvals(A)).max()
    B, C = rng.standard_normal((40, 1)), rng.standard_normal((1, 40))
    fast = analyse(dense((A - np.eye(40)) * 1.6e307, B, C, [[0.0]], discrete=False))
    slow = analyse(dense(A - np.eye(40), B, C, [[0.0]], discrete=False))
    assert fast.hinf * 1.6e307 == pytest.approx(slow.hinf, rel=1e-6)
    A[0, 1], A[2, 3] = 1e-320, 1e150  # no units hold both
    report = analyse(dense(A, 1e200 * B, C, [[1e-200]], discrete=True))
    assert {"stable", "hinf", "h2", "spectral_radius"} <= set(report.unproved)


# --- two kinds of arithmetic --------------------------------------------------------------------


@pytest.mark.parametrize("discrete", [True, False])
@pytest.mark.parametrize("complex_", [True, False])
def test_float64_and_ball_arithmetic_agree(discrete, complex_):
    rng = np.random.default_rng(3)
    for states in (3, 9, 16):
        A, B, C, D = random_matrices(
            rng, states, 2, 3, gap=0.01, discrete=discrete, complex_=complex_
        )
        D = D if discrete else 0 * D
        system = dense(A, B, C, D, discrete=discrete)
        (quick,), (exact,) = proofs._dense(system), [proofs._in_balls(system)]
        for name, width in (("hinf", proofs.NORM), ("h2", proofs.H2)):
            found, narrow = getattr(quick, name), getattr(exact, name)
            assert found.lower <= narrow.upper
            assert narrow.lower <= found.upper
            assert found.is_sharp(width)
            assert narrow.is_sharp(1e-8)
        assert quick.extent.lower <= exact.extent.upper
        assert exact.extent.lower <= quick.extent.upper
        assert quick.poles_known
        assert quick.stable
        assert exact.stable


@given(seed=st.integers(0, 10**6), discrete=st.booleans())
@settings(max_examples=30, deadline=None)
def test_diagonal_systems_in_float64_and_in_balls(seed, discrete):
    rng = np.random.default_rng(seed)
    system = _bank(rng, discrete)
    (quick,), exact = proofs._diagonal(system), proofs._in_balls(system)
    for name in ("hinf", "h2", "extent", "margin"):
        found, narrow = getattr(quick, name), getattr(exact, name)
        slack = 1e-9 * abs(narrow.upper) + 1e-15
        assert found.lower <= narrow.upper + slack
        assert narrow.lower <= found.upper + slack


def _bank(rng: np.random.Generator, discrete: bool):
    n = int(rng.integers(1, 5))
    gaps = 10.0 ** rng.uniform(-6, 0, n)
    turns = rng.uniform(0, math.pi, n)
    lam = (1 - gaps) * np.exp(1j * turns) if discrete else -gaps + 10j * turns
    B, C = (rng.standard_normal(n) + 1j * rng.standard_normal(n) for _ in range(2))
    D = [[[rng.standard_normal() if discrete else 0.0]]]
    return diagonal(
        lam[None], B[None, :, None], C[None, None], D, discrete=discrete, conjugate=True
    )


def test_an_extent_in_float64_holds_the_one_of_balls():
    rng = np.random.default_rng(1)
    for _ in range(10):
        A = rng.standard_normal((12, 12))
        found = dense_proofs.enclose_extent(A, discrete=True)
        exact = ball.poles(ball.BallSystem.of(A, A[:, :1], A[:1], A[:1, :1], discrete=True)).extent
        assert found.lower <= exact.lower <= exact.upper <= found.upper
        assert found.is_sharp(1e-9)


# --- rounding -----------------------------------------------------------------------------------


def test_a_normaliser_pays_for_modes_that_cancel():
    from ssmbench import registry

    # e^-0.01, four poles 1e-4 apart, residues 1, -3, 3, -1: a third difference of exponentials
    rates = torch.tensor([[0.01 + 1e-4 * k for k in range(4)]], dtype=torch.float64)
    ones = torch.ones(1, 4, 1, dtype=torch.complex64)
    C = torch.tensor([[[1.0, -3.0, 3.0, -1.0]]], dtype=torch.complex64)
    lam = torch.exp(-rates).to(torch.complex64)
    D = torch.zeros(1, 1, 1)
    plain = DiscreteDiagonal(lam=lam, B=ones, C=C, D=D, conjugate=True)
    held = registry.normalisers.get("hinf").build()(plain)
    report = analyse(held)
    assert report.hinf_upper_bound + float(rounding_gain(held)) <= 1 + 1e-5
    u = torch.randn(1, 20_000, 1, 1, generator=torch.Generator().manual_seed(0))
    y, _ = registry.scans.get("auto").build()(held, u)
    assert y.norm() <= u.norm()


def test_rounding_of_an_ordinary_layer_is_small():
    torch.manual_seed(0)
    from ssmbench import registry

    layer = registry.parametrizations.get("s4d").build(d_model=16)()
    system = registry.discretizers.get("zoh").build()(layer)
    assert (rounding_gain(system) < 1e-2 * hinf_bound(system)).all()
