"""A learned initial state: it is learned, and gains from zero state are not claimed for it."""

from __future__ import annotations

import pytest
import torch

from ssmbench.config import AnalysisConfig
from ssmbench.nn.initial_state import InitialState
from ssmbench.training.gains import measure_gains
from tests.nn.networks import NAMES, error, layer_of, network, signal

CONFIG = AnalysisConfig(attack_steps=15, attack_restarts=4)


@pytest.mark.parametrize("name", NAMES)
def test_it_starts_at_zero_and_is_the_same_for_every_sequence(name):
    torch.manual_seed(0)
    resting = layer_of(name)
    torch.manual_seed(0)
    layer = layer_of(name, initial_state=InitialState.learned)
    u = torch.randn(2, 20, 4)
    assert torch.equal(layer(u), resting(u))
    with torch.no_grad():
        layer.x0.normal_()
    moved = layer(u) - resting(u)
    assert moved.abs().max() > 1e-3
    if layer.time_varying:  # what a state leads to depends on the input
        assert error(layer(u[1:]), layer(u)[1:]) < 1e-4
    else:
        assert error(moved[0], moved[1]) < 1e-3  # it adds to a linear layer's output


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_state_of_the_system_it_shows(name):
    """Step by step from x0, by the matrices of each step."""
    layer = layer_of(name, initial_state=InitialState.learned).double()
    u = torch.randn(1, 6, 4, dtype=torch.float64)
    with torch.no_grad():
        layer.x0.normal_()
        whole, found = layer.system_for(u), layer(u)
        state = layer.x0[..., :, None] if layer.x0.ndim == 2 else _stacked(layer.x0, whole)
        for step in range(6):
            system = (whole.at(0, step) if layer.time_varying else whole).to_dense()
            inputs = u[0, step].reshape(system.heads, system.inputs, 1)
            expected = (system.C @ state + system.D @ inputs).flatten()
            assert torch.allclose(found[0, step], expected, atol=1e-9)
            state = system.A @ state + system.B @ inputs


def _stacked(x0, system):
    """x0 in the coordinates of ``to_dense``: (Re, Im) of conjugate pairs."""
    assert system.conjugate
    return x0.transpose(1, 2).flatten(1)[..., None]


@pytest.mark.parametrize("name", NAMES)
def test_its_gradient_is_right_and_double_precision_is_kept(name):
    layer = layer_of(name, initial_state=InitialState.learned).double()
    assert layer.x0.dtype == torch.float64
    u = torch.randn(2, 7, 4, dtype=torch.float64)

    def energy(x0):
        return torch.func.functional_call(layer, {"x0": x0}, (u,)).square().sum()

    x0 = torch.randn_like(layer.x0).requires_grad_()
    assert torch.autograd.gradcheck(energy, x0)


@pytest.mark.parametrize("name", ["s4d", "l2ru"])
def test_gains_are_incremental_and_the_report_says_why(name):
    """A huge state changes no gain; from zero state there is none to be reported."""
    inputs = signal(3, 30, torch.float32)
    resting = network(name, learned=True, nonlinearity="identity", dtype=torch.float32)
    with torch.no_grad():
        for parameter_name, parameter in resting.named_parameters():
            if parameter_name.endswith(("bias", "x0")):
                parameter.zero_()
    before = measure_gains(resting, inputs, CONFIG).gain
    assert before.network.zero_state is not None
    with torch.no_grad():
        for layer in resting.layers:
            layer.x0.normal_(0, 3.0)
    after = measure_gains(resting, inputs, CONFIG).gain
    assert after.violations == ()
    assert after.network.zero_state is None
    assert "it starts from a learned state" in after.network.zero_state_reason
    assert after.network.bound == before.network.bound
    assert after.verified == before.verified
    assert after.attacked == pytest.approx(before.attacked, rel=1e-2)
    attacked = (x.network.attacked for x in (after, before))
    assert next(attacked) == pytest.approx(next(attacked), rel=1e-2)
