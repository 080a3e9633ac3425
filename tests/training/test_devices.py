"""The measurement runs where the network ran. There is no GPU here: a tensor made without a device
lands on another device than the network's (the meta device), as it would beside a GPU."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ssmbench.config import AnalysisConfig
from ssmbench.errors import UsageError
from ssmbench.nn.encoded import gain_map
from ssmbench.nn.freeze import exact_map, freeze
from ssmbench.runs import execute as execution
from ssmbench.runs.environment import device_name, environment
from ssmbench.runs.run import Run
from ssmbench.training.adversary import attack_layer, attack_network
from ssmbench.training.gains import measure_gains, measuring_device
from ssmbench.training.layer_analysis import layer_inputs
from ssmbench.training.trainer import train
from tests.nn.networks import network, signal

CONFIG = AnalysisConfig(attack_steps=6, attack_restarts=3)
NAMES = ("s4d", "lru", "s5", "l2ru", "contraction", "linoss")


@pytest.fixture
def inputs():
    return signal(2, 20, torch.float32)


@pytest.mark.parametrize("name", NAMES)
def test_the_attack_of_a_network_makes_no_tensor_on_another_device(name, inputs):
    frozen = freeze(network(name, dtype=torch.float32))
    expected = attack_network(frozen, exact_map(frozen, inputs), inputs, CONFIG)
    with torch.device("meta"):
        found = attack_network(frozen, exact_map(frozen, inputs), inputs, CONFIG)
    assert torch.equal(found.gains, expected.gains)


@pytest.mark.parametrize("name", NAMES)
def test_the_attack_of_a_layer_makes_no_tensor_on_another_device(name):
    layer = freeze(network(name, dtype=torch.float32)).layers[0]
    expected = attack_layer(layer, 20, CONFIG)
    with torch.device("meta"):
        assert attack_layer(layer, 20, CONFIG) == expected


def test_inputs_of_layers_follow_the_network(inputs):
    model = network("selective", dtype=torch.float32)
    expected = layer_inputs(model, inputs)
    with torch.device("meta"):
        found = layer_inputs(model, inputs)
    assert all(torch.equal(a.u, b.u) for a, b in zip(found, expected, strict=True))


class Stopped(Exception):
    """Nothing can be computed on the meta device: this is where it was to begin."""


def test_signals_move_to_where_the_network_is(inputs):
    _, signals = gain_map(network("s4d", dtype=torch.float32).to("meta"), inputs)
    assert signals.device.type == "meta"


@pytest.mark.parametrize(("trained_on", "expected"), [("meta", "meta"), ("cpu", "cpu")])
def test_a_run_is_measured_where_it_was_trained(trained_on, expected, monkeypatch, tmp_path, tiny):
    seen = []

    def trained(*args):
        return dataclasses.replace(train(*args), device=torch.device(trained_on))

    def stop(model, task, config):
        seen.append({p.device.type for p in model.parameters()})
        raise UsageError("stopped")

    monkeypatch.setattr(execution, "train", trained)
    monkeypatch.setattr(execution, "measure_task_gains", stop)
    with pytest.raises(UsageError, match="stopped"):
        execution.execute(Run.of(tiny(), tmp_path))
    assert seen == [{expected}]


def test_a_device_with_float64_is_measured_on():
    assert measuring_device(torch.device("cpu")) == torch.device("cpu")
    assert measuring_device(torch.device("meta")) == torch.device("meta")


@pytest.mark.parametrize("error", [TypeError, RuntimeError])
def test_a_device_without_float64_is_left_for_the_cpu(monkeypatch, error):
    make = torch.zeros

    def zeros(*args, dtype=None, device=None, **rest):
        if dtype == torch.float64 and torch.device(device).type == "mps":
            raise error("Cannot convert a MPS Tensor to float64 dtype")
        return make(*args, dtype=dtype, device=device, **rest)

    monkeypatch.setattr(torch, "zeros", zeros)
    assert measuring_device(torch.device("mps", 0)) == torch.device("cpu")


def test_an_environment_names_both_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    found = environment(torch.device("cuda", 1), torch.device("cpu"))
    assert (found.device, found.measured_on) == ("GPU 1", "cpu")
    assert device_name(torch.device("mps", 0)) == "mps"
    assert found.packages["torch"] is not None


def test_what_is_measured_does_not_move_the_network(inputs):
    model = network("s4d", dtype=torch.float32)
    measure_gains(model, inputs.double(), CONFIG)
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    assert {p.dtype for p in model.parameters() if p.is_floating_point()} == {torch.float32}
