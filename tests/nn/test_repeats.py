"""Blocks that are applied several times, with the same parameters each time."""

from __future__ import annotations

import copy

import pytest
import torch

from ssmbench.analysis.gain import analyse
from ssmbench.build.network import build_network
from ssmbench.build.optimizer import build_optimizer
from ssmbench.config import AnalysisConfig, resolve, typed
from ssmbench.nn.freeze import freeze
from ssmbench.nn.model import SequenceModel
from ssmbench.spec import Channels, TaskSizes
from ssmbench.training.gains import measure_gains
from tests.nn.networks import signal

SIZES = TaskSizes(Channels(2), 3, 20, per_step=True)


def run(**model):
    base = {"d_model": 4, "n_layers": 2, "parametrization": "s4d", "nonlinearity": "gelu"}
    return typed(resolve({"model": base | {"discretizer": "zoh", "repeats": 3} | model}))


def built(**model) -> SequenceModel:
    torch.manual_seed(0)
    return build_network(run(**model), SIZES).double().eval()


def unrolled(model: SequenceModel) -> SequenceModel:
    """The same map, of blocks that share nothing."""
    whole = copy.deepcopy(model)
    whole.blocks = torch.nn.ModuleList(copy.deepcopy(block) for block in model.blocks)
    return whole


def test_a_network_is_the_unrolled_one_with_the_parameters_of_its_blocks():
    model = built()
    assert len(model.blocks) == 6
    assert len(model.layers) == 2
    assert len(unrolled(model).layers) == 6
    assert model.parameter_count() == built(repeats=1).parameter_count()
    torch.testing.assert_close(model(signal(2, 9)), unrolled(model)(signal(2, 9)))


def test_streams_frozen_copies_and_files_are_the_same_map(tmp_path):
    model, u = built(initial_state="learned"), signal(2, 9)
    expected = model(u)
    first, state = model.stream(u[:, :4])
    assert len(state.layers) == 6
    torch.testing.assert_close(torch.cat([first, model.stream(u[:, 4:], state)[0]], 1), expected)
    torch.testing.assert_close(freeze(model)(u), expected)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other = built(initial_state="learned")
    other.load_state_dict(torch.load(tmp_path / "weights.pt"))
    torch.testing.assert_close(other(u), expected)


def test_each_parameter_is_trained_once_by_the_gradients_of_all_applications():
    model, u = built(), signal(2, 9)
    optimizer = build_optimizer(model, run().optimizer)
    trained = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert len(trained) == len(set(trained))
    apart = unrolled(model)
    for network in (model, apart):
        network(u).square().sum().backward()
    for name, parameter in model.blocks[0].named_parameters():
        parts = [apart.blocks[k].get_parameter(name).grad for k in (0, 2, 4)]
        torch.testing.assert_close(parameter.grad, sum(parts))


def test_bounds_count_every_application():
    model, u = built(), signal(2, 20)
    gains = [analyse(layer.system()).hinf for layer in model.layers]
    bound = model.bound(gains, 20)
    assert bound.value == pytest.approx(unrolled(model).bound(gains * 3, 20).value)
    gain = measure_gains(
        model.float(), u.float(), AnalysisConfig(attack_steps=5, attack_restarts=1)
    ).gain
    assert len(gain.layers) == 2
    assert gain.violations == ()
    assert gain.network.attacked <= gain.network.bound


def test_a_prescribed_gain_holds_for_all_applications():
    model = built(gamma=2.0, parametrization="l2ru", discretizer=None, nonlinearity="relu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    u, v = signal(2, 20).split(1)
    with torch.no_grad():
        assert (model(u) - model(v)).norm() <= 2.0 * (u - v).norm()
