"""The chain of masses: its motion and its gain against other programs, and a model's unit."""

import control
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import dlsim

from ssmbench.tasks.sysid.mass_chain import MassChainConfig, chain, respond
from tests.tasks.tiny import tiny_task


def parts(config):
    system = chain(config)
    return [part[0].numpy() for part in (system.A, system.B, system.C, system.D)]


@pytest.mark.parametrize("masses", [1, 3, 6])
def test_the_gain_is_that_of_slycot(masses):
    pytest.importorskip("slycot")
    task = tiny_task("mass_chain", masses=masses)
    norm, _ = control.linfnorm(control.ss(*parts(task.config), task.config.sampling_time))
    assert task.true_gain == pytest.approx(norm, rel=1e-6)
    assert f"{norm:.4g} m/N" in task.source


@given(masses=st.integers(1, 4), stiffness=st.floats(0.5, 20.0), damping=st.floats(0.05, 1.0))
@settings(max_examples=20)
def test_the_motion_is_that_of_the_differential_equation(masses, stiffness, damping):
    """A constant force stretches each spring by force / stiffness."""
    config = MassChainConfig(masses=masses, stiffness=stiffness, damping=damping)
    A, B, C, D = parts(config)
    rest = np.linalg.solve(np.eye(2 * masses) - A, B)
    assert (C @ rest + D)[0, 0] == pytest.approx(masses / stiffness, rel=1e-6)
    u = np.random.default_rng(0).standard_normal(50)
    _, y, _ = dlsim((A, B, C, D, 1.0), u)
    np.testing.assert_allclose(respond(chain(config), u), y[:, 0], atol=1e-9)


def test_no_response_has_more_energy_than_the_gain_allows():
    """In normalised units, in which a model's gain is given; without noise."""
    task = tiny_task("mass_chain", noise=0.0)
    task.setup()
    u = task.experiments().test.u / task._inputs.deviation
    y = task.experiments().test.y / task._outputs.deviation
    assert np.linalg.norm(y) <= task.true_normalised_gain * np.linalg.norm(u)


def test_records_follow_their_own_seed_alone():
    one, again, other = (
        tiny_task("mass_chain", seed=k, simulation_seed=s).experiments().test.y
        for k, s in ((0, 0), (1, 0), (0, 1))
    )
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
