"""A network trained at one sampling rate and evaluated at another."""

from __future__ import annotations

import math

import pytest
import torch

from ssmbench.analysis.hinf import hinf_norm
from ssmbench.config import AnalysisConfig
from ssmbench.errors import UsageError
from ssmbench.nn.freeze import freeze
from ssmbench.systems import TimeVaryingSystem
from ssmbench.training.gains import measure_gains
from tests.nn.networks import CONTINUOUS, D_MODEL, DISCRETE, error, layer_of, network, signal


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("times", [2, 3])
def test_a_held_signal_sampled_faster_gives_the_same_outputs_at_common_times(name, times):
    """Zero-order hold is exact for held signals, and all else acts on one time step."""
    model, u = network(name, layers=1, norm="layer"), signal(2, 25)
    faster = u.repeat_interleave(times, 1)
    with torch.no_grad():
        expected, unaware = model(u), model(faster)[:, ::times]
        with model.at_rate(1 / times):
            found = model(faster)[:, ::times]
    assert error(found, expected) < 1e-10
    assert error(unaware, expected) > 1e-3


@pytest.mark.parametrize("name", CONTINUOUS)
def test_layer_upon_layer_the_outputs_come_near(name):
    """A second layer's input is not held: the difference vanishes with the step, at first order."""
    model, changes = network(name), []
    for steps in (100, 200, 400, 800):
        t = torch.linspace(0, 1, steps + 1, dtype=torch.float64)[:-1]
        u = torch.stack([torch.sin(9 * t), torch.cos(4 * t)], -1)[None]
        with torch.no_grad(), model.at_rate(10 / steps):
            changes.append(model(u)[:, :: steps // 100])
    errors = [error(y, changes[-1]) for y in changes[:-1]]
    assert errors[0] > 1.5 * errors[1] > 2.25 * errors[2]


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("rate", [0.25, 2.0])
def test_the_rate_multiplies_the_step_size_and_is_put_back(name, rate):
    model = network(name)
    layer, u = model.layers[0], torch.randn(2, 5, D_MODEL, dtype=torch.float64)
    before = layer.system_for(u)
    continuous = _bank(layer.parametrization(u) if layer.time_varying else layer.parametrization())
    with model.at_rate(rate):
        found = _bank(layer.system_for(u)).poles()
        expected = torch.exp(rate * continuous.dt[:, None] * continuous.poles())
        assert torch.allclose(_sorted(found), _sorted(expected))
    after = layer.system_for(u)
    assert all(torch.equal(a, b) for a, b in zip(*map(_tensors, (before, after)), strict=True))


def _bank(system):
    """A time-varying system frozen at each of its steps."""
    return system.bank() if isinstance(system, TimeVaryingSystem) else system


def _sorted(poles):
    return torch.view_as_real(poles).flatten(1).sort(1).values


def _tensors(system):
    return list(system.tensors().values())


def test_the_rate_is_put_back_after_an_error():
    model = network("s4d")
    with pytest.raises(RuntimeError, match="inside"), model.at_rate(0.5):
        raise RuntimeError("inside")
    assert {layer.rate for layer in model.layers} == {1.0}


def test_what_is_verified_is_what_runs_at_the_rate():
    """A gain-preserving discretizer keeps the promise at every rate; the figures are its own."""
    torch.manual_seed(0)
    config = AnalysisConfig(attack_steps=10, attack_restarts=2)
    model = network("contraction_continuous", dtype=torch.float32)
    for layer in model.layers:
        layer.discretizer = layer_of("s4d", "tustin").discretizer
    found = {}
    for rate in (1.0, 0.3, 4.0):
        with model.at_rate(rate):
            gain = measure_gains(model, signal(2, 30, torch.float32), config).gain
            assert gain.violations == ()
            assert gain.declared == 1
            radius = max(x.system().spectral_radius().max().item() for x in model.layers)
            assert gain.spectral_radius == pytest.approx(radius)
            found[rate] = gain.spectral_radius
    assert len(set(found.values())) == 3


def test_another_rate_is_another_gain_where_the_discretizer_does_not_keep_it():
    model = network("s4d", layers=1)
    norms = []
    for rate in (1.0, 0.05):
        with model.at_rate(rate):
            norms.append(hinf_norm(model.layers[0].system()).norm)
    assert norms[0].shape == (D_MODEL,)
    assert not torch.allclose(*norms, rtol=1e-3)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DISCRETE)
def test_a_discrete_parametrization_is_refused_with_the_reason(name):
    model = network(name)
    with pytest.raises(UsageError, match="has no other sampling rate") as caught:
        model.set_rate(0.5)
    reason = type(model.layers[0].parametrization).no_discretizer_reason
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.inf, math.nan])
def test_a_rate_must_be_positive(rate):
    model = network("s4d")
    with pytest.raises(UsageError, match="rate: must be positive"):
        model.set_rate(rate)
    assert {layer.rate for layer in model.layers} == {1.0}


def test_a_frozen_network_is_refused_but_keeps_its_rate():
    model, u = network("s4d"), signal(1, 20)
    with model.at_rate(0.5):
        frozen, expected = freeze(model), model(u)
    assert torch.equal(frozen(u), expected)
    with pytest.raises(UsageError, match="set the rate before freezing"), frozen.at_rate(2.0):
        pass
