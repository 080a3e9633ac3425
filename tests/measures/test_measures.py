"""Measures against closed forms, scipy, slycot and python-control; and the attacks beside them."""

from __future__ import annotations

import math

import control
import numpy as np
import pytest
import scipy.linalg
import scipy.signal
import slycot
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ssmbench as sb
from ssmbench.analysis.ball import BallSystem
from ssmbench.analysis.ball.supply import least_supply
from ssmbench.analysis.delay_margin import delayed_loop, matrices_of
from ssmbench.analysis.modal_supply import least_of_modes
from ssmbench.errors import UsageError
from ssmbench.measures.base import BUDGET
from ssmbench.measures.chosen import chosen, label, measured
from ssmbench.measures.supply_rates import scaled_supply
from ssmbench.systems import DiscreteDiagonal, TimeVaryingDiagonal

ALL = ("band_gain", "peak_to_peak", "h2", "passivity", "dissipativity", "decay", "delay_margin")


def measure(system, name, **options):
    (found,) = sb.analyse(system, measures=[{"name": name, **options}]).measures.values()
    assert not found.is_broken, found
    return found


def close(found, expected, relative=2e-9):
    """The proved interval contains the value and is narrow; the attack reaches it."""
    slack = relative * abs(expected) + 1e-12
    assert found.proved.lower - slack <= expected <= found.proved.upper + slack, found
    assert found.proved.upper - found.proved.lower <= 1e-6 * abs(expected) + 1e-8, found
    assert found.attacked == pytest.approx(expected, rel=1e-5, abs=1e-8)
    return True


def lag(pole=-1.0, gain=1.0, direct=0.0, dt=None):
    return sb.system([[pole]], [[gain]], [[1.0]], [[direct]], dt)


def resonator(zeta, output=(1.0, 0.0)):
    return sb.system([[0, 1], [-1, -2 * zeta]], [[0], [1]], [list(output)], [[0]])


def butterworth(edge=0.3):
    return sb.system(*scipy.signal.tf2ss(*scipy.signal.butter(4, edge)), 1.0)


def pure_delay(steps):
    return sb.system(np.eye(steps, k=-1), np.eye(steps)[:, :1], np.eye(steps)[-1:], [[0]], 1.0)


def random_system(seed, n, m, dt):
    random = np.random.default_rng(seed)
    A = random.standard_normal((n, n))
    size = abs(np.linalg.eigvals(A)).max()
    A = 0.9 * A / size if dt else A / size - 1.1 * np.eye(n)
    B, C, D = (random.standard_normal(s) for s in ((n, m), (m, n), (m, m)))
    return A, B, C, D


def response(matrices, omega, dt):
    A, B, C, D = matrices
    point = np.exp(1j * omega) if dt else 1j * omega
    return C @ np.linalg.solve(point * np.eye(len(A)) - A, B) + D


# --- gain on a band -----------------------------------------------------------------------------


def test_the_gain_of_a_lag_on_a_band_is_that_at_its_lower_edge():
    assert close(measure(lag(), "band_gain", low=1.0, high=3.0), 1 / math.sqrt(2))
    assert close(measure(lag(), "band_gain", low=2.0), 1 / math.sqrt(5))
    assert close(measure(lag(0.5, dt=1.0), "band_gain", low=math.pi), 1 / 1.5)
    assert close(measure(lag(direct=3.0), "band_gain", low=1e6), 3.0)


def test_the_gain_in_the_stopband_of_a_butterworth_filter():
    numbers = scipy.signal.butter(4, 0.3)
    _, H = scipy.signal.freqz(*numbers, worN=[0.6 * math.pi])
    assert close(measure(butterworth(), "band_gain", low=0.6 * math.pi), abs(H[0]), 1e-7)
    assert close(measure(butterworth(), "band_gain"), 1.0, 1e-7)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 3), st.sampled_from([None, 1.0]))
def test_the_gain_on_a_band_encloses_that_on_a_grid(seed, n, m, dt):
    matrices = random_system(seed, n, m, dt)
    found = measure((*matrices, dt), "band_gain", low=0.4, high=1.7)
    gains = [np.linalg.norm(response(matrices, w, dt), 2) for w in np.linspace(0.4, 1.7, 60)]
    assert max(gains) <= found.proved.upper
    assert found.attacked == pytest.approx(found.proved.upper, rel=1e-6)
    whole = sb.analyse((*matrices, dt))
    assert found.proved.lower <= whole.hinf_upper_bound * (1 + 1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([None, 1.0]))
def test_over_all_frequencies_it_is_the_norm_that_slycot_finds(seed, dt):
    A, B, C, D = random_system(seed, 4, 2, dt)
    norm, _ = slycot.ab13dd("D" if dt else "C", "I", "N", "D", 4, 2, 2, A, np.eye(4), B, C, D)
    assert measure((A, B, C, D, dt), "band_gain").value == pytest.approx(norm, rel=1e-7)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["lru", "contraction", "s4d"]), st.booleans())
def test_the_least_supply_of_modes_encloses_that_of_ball_arithmetic(seed, name, passivity):
    """In float64 with tangents and curvatures, against Hamiltonian eigenvalues."""
    discretizer = "zoh" if name == "s4d" else None
    layer = sb.layer(name, d_model=2, d_state=4, discretizer=discretizer, seed=seed)
    system = layer.system().detach().double().head(0)
    supply = scaled_supply(system, -1.0 + passivity, passivity / 2, 0.0)
    exact = BallSystem.of(*matrices_of(system), discrete=True)
    quick = least_of_modes(system, supply, 0.4, 2.0)
    sharp = least_supply(exact, supply, 0.4, 2.0).value
    assert quick is not None
    assert quick.value.lower <= sharp.upper
    assert sharp.lower <= quick.value.upper
    assert quick.value.upper - quick.value.lower <= 1e-3 * abs(sharp.lower) + 1e-6


# --- peak-to-peak -------------------------------------------------------------------------------


def test_the_peak_to_peak_gain_of_closed_forms():
    assert close(measure(lag(0.9, direct=0.5, dt=1.0), "peak_to_peak"), 10.5)
    assert close(measure(lag(-0.9, direct=0.5, dt=1.0), "peak_to_peak"), 10.5)
    assert close(measure(lag(-2.0, gain=-3.0, direct=0.5), "peak_to_peak"), 2.0, 1e-7)
    assert measure(pure_delay(5), "peak_to_peak").value == 1.0


def test_the_peak_to_peak_gain_of_a_resonator():
    """Zeros of the impulse response lie pi / w apart, and each lobe is e^(-zeta pi / w) smaller."""
    zeta = 0.2
    lobe = math.exp(-zeta * math.pi / math.sqrt(1 - zeta**2))
    found = measure(resonator(zeta), "peak_to_peak")
    expected = (1 + lobe) / (1 - lobe)
    assert found.proved.lower <= expected <= found.proved.upper <= expected * (1 + 1e-5)
    assert found.attacked == pytest.approx(expected, rel=1e-3)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 3))
def test_the_peak_to_peak_gain_is_the_largest_row_of_absolute_sums(seed, n, m):
    A, B, C, D = random_system(seed, n, m, 1.0)
    x, sums = B, abs(D)
    for _ in range(1500):
        sums, x = sums + abs(C @ x), A @ x
    assert measure((A, B, C, D, 1.0), "peak_to_peak").value == pytest.approx(sums.sum(1).max())


# --- H2, passivity, dissipativity ---------------------------------------------------------------


def test_the_h2_norm_of_closed_forms():
    assert close(measure(lag(-2.0, gain=3.0), "h2"), 3 / 2)
    assert close(measure(lag(0.6, dt=1.0), "h2"), 1 / 0.8)
    assert math.isinf(measure(lag(direct=1.0), "h2").value)


def test_the_passivity_of_closed_forms():
    assert close(measure(lag(direct=0.5), "passivity"), 0.5)
    edge = measure(lag(), "passivity")
    assert edge.proved.lower <= 0 <= edge.proved.upper
    assert edge.note == "passive or not: too close to tell"
    assert close(measure(lag(0.5, direct=1.0, dt=1.0), "passivity"), 1 / 3)
    assert measure(lag(0.5, direct=1.0, dt=1.0), "passivity").note == "strictly input passive"
    w = math.sqrt(1 + 2 * 0.2)  # of the most negative real part of 1 / (1 - w^2 + 0.4 i w)
    lowest = (1 / complex(1 - w * w, 0.4 * w)).real
    assert close(measure(resonator(0.2), "passivity"), lowest)
    assert measure(resonator(0.2), "passivity").note == "not passive"


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 3), st.sampled_from([None, 1.0]))
def test_the_passivity_index_encloses_that_on_a_grid(seed, n, m, dt):
    matrices = random_system(seed, n, m, dt)
    found = measure((*matrices, dt), "passivity")
    grid = np.linspace(0, math.pi, 60) if dt else np.logspace(-3, 3, 60)
    parts = [response(matrices, w, dt) for w in grid]
    least = min(np.linalg.eigvalsh((G + G.conj().T) / 2)[0] for G in parts)
    assert found.proved.lower <= least
    assert found.attacked == pytest.approx(found.proved.lower, rel=1e-5, abs=1e-6)


def test_dissipativity_with_the_supply_rate_of_a_gain_says_whether_the_gain_is_below():
    above, below = ({"Q": -1.0, "S": 0.0, "R": r} for r in (1.01, 0.99))
    assert measure(lag(), "dissipativity", **above).note == "dissipative"
    assert measure(lag(), "dissipativity", **below).note == "not dissipative"
    sector = {"Q": [[-1.0]], "S": [[0.75]], "R": [[-0.5]]}  # (y - u / 2)(u - y) >= 0: 1 / 2 .. 1
    assert measure(lag(gain=0.25, direct=0.6), "dissipativity", **sector).note == "dissipative"
    assert measure(lag(gain=0.5, direct=0.6), "dissipativity", **sector).note == "not dissipative"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"Q": [[1.0, 2.0]]}, "Q: must be a number or a symmetric matrix"),
        ({"Q": [[1.0, 2.0], [2.0, 1.0]]}, "Q: must be a finite matrix of 1 x 1"),
        ({"S": "one"}, "S: must be a number or a list of rows"),
        ({"R": [[math.inf]]}, "R: must be a number or a list of rows"),
    ],
)
def test_a_supply_rate_that_does_not_fit_is_refused(options, says):
    with pytest.raises(UsageError, match=says):
        measure(lag(), "dissipativity", **options)


# --- decay and delay ----------------------------------------------------------------------------


def test_the_decay_of_a_jordan_block_bounds_all_of_its_powers():
    A = np.array([[0.9, 10.0], [0.0, 0.9]])
    found = measure((A, np.ones((2, 1)), np.ones((1, 2)), [[0]], 1.0), "decay")
    rate, overshoot = found.value, found.details["overshoot"]
    sizes = [np.linalg.norm(np.linalg.matrix_power(A, k), 2) / rate**k for k in range(300)]
    assert rate == pytest.approx(0.91)
    assert max(sizes) <= overshoot <= max(sizes) * 1.001
    assert found.details["overshoot_attacked"] == pytest.approx(overshoot, rel=1e-3)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from([None, 1.0]))
def test_no_motion_is_slower_than_the_proved_rate(seed, n, dt):
    A, B, C, D = random_system(seed, n, 1, dt)
    found = measure((A, B, C, D, dt), "decay", slack=0.2)
    step = A if dt else scipy.linalg.expm(A / 4)
    factor = found.value if dt else math.exp(found.value / 4)
    sizes = [np.linalg.norm(np.linalg.matrix_power(step / factor, k), 2) for k in range(120)]
    assert max(sizes) <= found.details["overshoot"] * (1 + 1e-9)


def test_a_diagonal_system_decays_at_the_rate_of_its_slowest_mode_without_overshoot():
    one = torch.ones(1, 1, 1).double()
    lam = torch.full((1, 1), 0.97, dtype=torch.float64)
    found = measure(DiscreteDiagonal(lam=lam, B=one, C=one, D=one), "decay")
    assert found.value == pytest.approx(0.97, abs=1e-14)
    assert found.details["overshoot"] == 1


def test_the_delay_margin_of_a_lag_in_closed_form():
    w = math.sqrt(8.0)
    assert close(measure(lag(gain=3.0), "delay_margin"), (math.pi - math.atan(w)) / w, 1e-9)


def test_the_delay_margin_agrees_with_python_control():
    A, B, C = [[0, 1], [-1, -0.4]], [[0], [1.5]], [[1, 0]]
    found = measure((A, B, C, [[0]]), "delay_margin")
    _, phases, _, _, crossings, _ = control.stability_margins(
        control.ss(A, B, C, 0), returnall=True
    )
    expected = min(np.deg2rad(p % 360) / w for p, w in zip(phases, crossings, strict=True))
    assert close(found, expected, 1e-7)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.02, 2.0), st.floats(-0.95, 0.95), st.floats(-0.9, 0.9))
def test_the_delay_margin_in_samples_is_the_first_unstable_loop(gain, pole, direct):
    found = measure(lag(pole, gain, direct, 1.0), "delay_margin", longest=12)
    if math.isinf(found.proved.lower):  # the gain is below 1
        assert abs(direct) + gain / (1 - abs(pole)) < 1 or found.note.startswith("the gain is")
        return
    undelayed = abs(pole - gain / (1 + direct))
    if undelayed >= 1 - 1e-9:  # on the boundary itself neither is proved
        assert found.proved.lower == 0
        assert found.proved.upper == 0 or undelayed <= 1 + 1e-9
        return
    parts = (np.array([[x]]) for x in (pole, gain, 1.0, direct))
    matrices = tuple(parts)
    radii = [abs(np.linalg.eigvals(delayed_loop(*matrices, d))).max() for d in range(1, 13)]
    first = next((d for d, radius in enumerate(radii, 1) if radius >= 1), None)
    assert found.proved.lower <= (first or 13)
    assert first is None or found.proved.upper == first or abs(radii[first - 1] - 1) < 1e-9


def test_loops_that_no_delay_or_any_delay_destabilises():
    assert measure(lag(gain=0.9), "delay_margin").proved.lower == math.inf
    assert measure(lag(gain=-3.0), "delay_margin").note == "the loop is unstable without a delay"
    assert measure(lag(gain=3.0, direct=2.0), "delay_margin").proved.upper == 0


# --- all of them --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_every_measure_copes_with_extreme_systems(name):
    """Unstable, without states, of enormous and of tiny entries, close to the unit circle."""
    systems = (
        lag(1.0),
        lag(1.5, dt=1.0),
        sb.system(np.zeros((0, 0)), np.zeros((0, 1)), np.zeros((1, 0)), [[2.0]], 1.0),
        lag(0.5, gain=1e100, dt=1.0),
        lag(-1e-150, gain=1e-150),
        lag(1 - 1e-9, gain=1e-9, dt=1.0),
    )
    for system in systems:
        found = measure(system, name)
        assert not math.isnan(found.proved.lower)
        assert not math.isnan(found.proved.upper)


@pytest.mark.parametrize("name", ALL)
def test_a_time_varying_system_is_refused_with_the_reason(name):
    lam, places = torch.full((1, 2, 1, 1), 0.5), torch.ones(1, 2, 1, 1, 1)
    component = chosen([name], "measure")[0]
    system = TimeVaryingDiagonal(lam=lam, B=places, C=places, D=torch.ones(1, 1, 1))
    with pytest.raises(UsageError, match=f"measure {name}: time-varying"):
        measured(system, [component])


def test_systems_beyond_the_budget_leave_the_measure_unproved():
    heads = int(BUDGET / 64**3) + 1
    lam = torch.full((heads, 64), 0.5).double()
    B = torch.zeros(heads, 64, 1).double()
    system = DiscreteDiagonal(lam=lam, B=B, C=B.mT, D=torch.ones(heads, 1, 1).double())
    found = measure(system, "peak_to_peak")
    assert not found.is_proved
    assert found.proved.lower == pytest.approx(1)
    assert found.note.startswith("unproved: 1 of 3 systems")


def test_a_measure_is_named_with_the_options_that_differ_from_their_defaults():
    found = chosen(["band_gain( low=0.1, high = 1)", "h2", {"name": "decay"}], "--measure")
    assert [label(one) for one in found] == ["band_gain(low=0.1, high=1.0)", "h2", "decay"]
    matrices = chosen(["dissipativity(Q=[[-2]], S=0.5, R=0)"], "--measure")[0]
    assert matrices["Q"] == [[-2]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("band_gain(low", r"must be NAME or NAME\(option=value, ...\)"),
        ("band_gain(low=[)", "must be NAME or NAME"),
        ("band_gains", "unknown measure 'band_gains'.*band_gain"),
        ("band_gain(lo=1)", "lo"),
        ("band_gain(low=-1)", "must be finite and not negative"),
    ],
)
def test_a_measure_that_cannot_be_read_is_refused(text, says):
    with pytest.raises(UsageError, match=says):
        chosen([text], "--measure")


def test_a_band_beyond_pi_and_an_empty_one_are_refused():
    with pytest.raises(UsageError, match="high: at most pi radians per sample, got 4"):
        measure(lag(0.5, dt=1.0), "band_gain", high=4.0)
    with pytest.raises(UsageError, match=r"low must not exceed high, got 2\.0 and 1\.0"):
        measure(lag(), "band_gain", low=2.0, high=1.0)


def test_measures_that_need_a_square_system_say_so():
    wide = ([[0.5]], [[1.0, 1.0]], [[1.0]], [[0.0, 0.0]], 1.0)
    with pytest.raises(UsageError, match=r"as many outputs as inputs; .* 1 outputs and 2 inputs"):
        measure(wide, "passivity")


def test_the_report_of_an_analysis_shows_them():
    report = sb.analyse(lag(0.5, dt=1.0), measures=["peak_to_peak", "band_gain(low=1)"])
    assert "peak_to_peak" in repr(report)
    measures = report.to_dict()["measures"]
    assert measures["peak_to_peak"]["lower_bound"] <= 2 <= measures["peak_to_peak"]["upper_bound"]
    assert "measures" not in sb.analyse(lag(0.5, dt=1.0)).to_dict()


def test_a_layer_of_many_modes_is_within_the_budget():
    """64 systems of 128 modes: their proofs take half a second, not half a minute."""
    layer = sb.layer("s4d", discretizer="zoh", d_model=64, d_state=128, seed=0)
    found = measure(layer, "band_gain")
    assert found.is_proved
    assert found.proved.upper == pytest.approx(sb.analyse(layer).hinf, rel=1e-3)
