"""Simulated systems with known gains: their motion, and their gains against measured ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from ssmbench.errors import UsageError
from ssmbench.tasks.sysid import duffing
from ssmbench.tasks.sysid.duffing import DuffingConfig, gain_bound, positions, runge_kutta
from ssmbench.tasks.sysid.tanks_simulation import SAMPLE_TIME, Tanks, simulate
from ssmbench.tasks.sysid.two_tanks import TwoTanks, TwoTanksConfig, equilibrium, incremental_gain
from tests.tasks.tiny import tiny_task


def solved(rates, u, start, sampling_time):
    """The states at the samples, by a method of order 8 from sample to sample."""
    states = [np.array(start)]
    for force in u:
        found = solve_ivp(
            lambda t, x, force=force: rates(x, force),
            (0, sampling_time),
            states[-1],
            method="DOP853",
            rtol=1e-11,
            atol=1e-12,
        )
        states.append(found.y[:, -1])
    return np.array(states[:-1])


# --- the Duffing oscillator ---------------------------------------------------------------------


def test_the_motion_is_that_of_the_differential_equation():
    config = DuffingConfig(cubic_stiffness=3.0, sampling_time=0.3)
    u = 2 * np.random.default_rng(0).standard_normal(100)

    def rates(x, force):
        return x[1], force - 0.2 * x[1] - x[0] - 3.0 * x[0] ** 3

    q = positions(config, u)
    np.testing.assert_allclose(q, solved(rates, u, [0.0, 0.0], 0.3)[:, 0], atol=1e-6 * q.std())
    np.testing.assert_allclose(q, runge_kutta(config, u, 200), atol=1e-6 * q.std())


def test_a_chaotic_motion_is_refused():
    config = DuffingConfig(damping=0.02, cubic_stiffness=10.0)
    u = 4 * np.random.default_rng(0).standard_normal(1000)
    with pytest.raises(UsageError, match=r"duffing: 256 steps .* chaotic; choose a shorter"):
        positions(config, u)


def energy_ratio(config, u):
    """||q|| / ||u||, with the force zero until the motion has died out."""
    rest = np.zeros(int(20 / config.damping / config.sampling_time))
    return np.linalg.norm(positions(config, np.concatenate([u, rest]))) / np.linalg.norm(u)


@given(
    damping=st.floats(0.2, 1.0),
    stiffness=st.floats(0.3, 3.0),
    cubic=st.floats(0.0, 3.0),
    size=st.floats(0.01, 1.5),
    detuning=st.floats(0.8, 1.5),
)
@settings(max_examples=15, deadline=None)
def test_no_response_has_more_energy_than_the_bound(damping, stiffness, cubic, size, detuning):
    config = DuffingConfig(stiffness=stiffness, cubic_stiffness=cubic, damping=damping)
    time = config.sampling_time * np.arange(400)
    u = size * np.sin(detuning * np.sqrt(stiffness) * time)
    assert energy_ratio(config, u) <= gain_bound(config)


def test_the_bounds_are_near_each_other_and_small_forces_reach_the_lower_one():
    gain = tiny_task("duffing").known_gain
    assert gain.least < gain.most < 1.15 * gain.least
    config = DuffingConfig()
    u = 1e-4 * np.sin(config.sampling_time * np.arange(3000))
    assert 0.97 * gain.least < energy_ratio(config, u) < gain.least


def test_an_overdamped_oscillator_has_its_static_gain():
    """Its gain is that of constant forces, 1/stiffness; sampling adds little."""
    gain = tiny_task("duffing", damping=100.0, stiffness=2.0).known_gain
    assert gain.least == pytest.approx(0.5, rel=1e-6)
    assert gain.most == pytest.approx(0.5, rel=3e-3)


def test_records_are_computed_once_and_follow_their_own_seed(monkeypatch):
    first = tiny_task("duffing", seed=1)
    records = first.experiments()
    assert first.further_tests() == ("twice the amplitude",)
    assert records.further["twice the amplitude"].u.std() > 1.5 * records.test.u.std()
    assert "l2 gain from" in first.source
    other = tiny_task("duffing", simulation_seed=1).experiments()
    assert not np.allclose(records.test.y, other.test.y)
    monkeypatch.setattr(duffing, "positions", None)
    np.testing.assert_array_equal(records.test.y, tiny_task("duffing").experiments().test.y)


# --- two tanks ----------------------------------------------------------------------------------


def test_the_levels_are_those_of_the_differential_equation():
    tanks = Tanks()
    u = np.random.default_rng(0).uniform(1.0, 3.5, 60)
    start = equilibrium(tanks, 2.0)

    def rates(x, voltage):
        return tanks.rates(x[0], x[1], voltage)

    expected = solved(rates, u, start, SAMPLE_TIME)
    np.testing.assert_allclose(simulate(tanks, u, start), expected, atol=1e-8)


def increments(one, other, start):
    """||difference of the levels|| / ||difference of the inputs||."""
    tanks = Tanks()
    y, z = (simulate(tanks, u, start)[:, 1] for u in (one, other))
    return np.linalg.norm(y - z) / np.linalg.norm(one - other)


@given(seed=st.integers(0, 1000), hold=st.integers(1, 40), lowest=st.floats(0.3, 2.5))
@settings(max_examples=8, deadline=None)
def test_no_difference_grows_more_than_the_bound(seed, hold, lowest):
    random = np.random.default_rng(seed)
    one, other = np.repeat(random.uniform(lowest, 3.5, (2, 8)), hold, axis=1)
    rest = np.full(150, 3.5)
    one, other = np.concatenate([one, rest]), np.concatenate([other, rest])
    gain = incremental_gain(Tanks(), lowest, 3.5)
    assert increments(one, other, equilibrium(Tanks(), lowest)) <= gain.most


def test_slow_small_differences_at_the_highest_voltage_reach_the_lower_bound():
    gain = incremental_gain(Tanks(), 1.0, 3.5)
    assert gain.least < gain.most < 1.35 * gain.least
    high = np.full(2000, 3.5)
    slow = high - 1e-4 * np.sin(np.pi * np.arange(2000) / 2000)
    assert 0.95 * gain.least < increments(high, slow, equilibrium(Tanks(), 3.5)) < gain.least


def test_voltages_stay_in_a_range_without_overflow():
    task = tiny_task("two_tanks")
    assert "incremental l2 gain from" in task.source
    assert "in normalised units" in str(task.normalised_gain)
    u = np.concatenate([task.experiments().test.u, task.experiments().estimation.u])
    assert u.min() >= 1.0
    assert u.max() <= 3.5
    with pytest.raises(UsageError, match="makes a tank overflow: choose less than"):
        tiny_task("two_tanks", highest=3.7)
    with pytest.raises(UsageError, match=r"lowest 3.0 must be below highest 2.0"):
        TwoTanks(TwoTanksConfig(lowest=3.0, highest=2.0), batch_size=1, seed=0)
