"""A relaxed gain is declared for exactly the network that was proved: its weights, their dtype and
its sampling rates."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from ssmbench.config import AnalysisConfig
from ssmbench.errors import UsageError
from ssmbench.nn.freeze import freeze
from ssmbench.nn.relaxation import Relaxation
from ssmbench.runs.load import measure_task_gains, untrained
from ssmbench.training.relaxing import relax
from tests.runs.test_reducing import network

GAMMA = 5.0
SMALL = {"gamma_by": "network_bound", "nonlinearity": "identity", "n_layers": 1, "d_model": 4}
DIRECTIONS = pytest.mark.parametrize("bidirectional", [False, True])


def proved(bidirectional=False, name="hinf"):
    """A network that is said to be proved, which is quicker than to prove it."""
    _, run = network(name, **SMALL, bidirectional=bidirectional)
    run.model.relaxation.set(2.0, proved=run.model.digest())
    assert run.model.declared_gain == GAMMA
    return run, run.model


def test_at_another_sampling_rate_the_proof_is_void():
    """By an attack that exceeds what was declared."""
    _, run = network("hinf", **SMALL)
    model, quick = run.model, AnalysisConfig(attack_steps=5, attack_restarts=1, network_bound=0)
    assert relax(model, run.task, 0.3) == ""
    own = measure_task_gains(model, run.task, quick).gain.network
    assert own.declared == GAMMA >= own.attacked
    assert own.declared_lengths == (64,)
    with model.at_rate(100):
        gains = measure_task_gains(model, run.task, quick).gain
    other = gains.network
    assert other.attacked > 1.2 * GAMMA
    assert (other.declared, other.declared_lengths, gains.violations) == (None, (), ())
    assert model.declared_gain == GAMMA, "at the rate of before"


@DIRECTIONS
@pytest.mark.parametrize("rate", [0.5, 1 + 2**-52, 3.0])
def test_each_layer_has_the_rate_that_was_proved(bidirectional, rate):
    _, model = proved(bidirectional)
    for layer in model.layers:
        layer.rate = rate
        assert model.declared_gain is None
        layer.rate = 1
        assert model.declared_gain == GAMMA
    with model.at_rate(rate):
        assert model.declared_gain is None
        assert freeze(model).declared_gain is None
        model.relaxation.set(2.0, proved=model.digest())
        assert model.declared_gain == freeze(model).declared_gain == GAMMA
    assert model.declared_gain is None, "it was proved at another rate"


def step(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    model.eval()(torch.ones(2, 64, 1)).square().sum().backward()
    optimizer.step()
    return model


def averaged(model):
    moved = torch.optim.swa_utils.AveragedModel(model)
    moved.update_parameters(model)
    moved.update_parameters(step(copy.deepcopy(model)))
    return moved.module


@torch.no_grad()
def one_bit(model):
    bias = model.decoder.bias
    bias[0] = torch.nextafter(bias[0], torch.tensor(math.inf))
    return model


@torch.no_grad()
def one_bit_of_a_copy(model):
    return one_bit(freeze(model))


def a_buffer(model):
    model.encoder.register_buffer("more", torch.ones(1), persistent=False)
    return model


def other_weights(model):
    weights = {k: v for k, v in model.state_dict().items() if not k.startswith("relaxation")}
    missing, _ = model.load_state_dict({k: v + 1e-3 for k, v in weights.items()}, strict=False)
    assert missing == ["relaxation._extra_state"]
    return model


def another_gamma(model):
    model.gamma = 2 * GAMMA
    return model


def another_system(model):
    frozen = freeze(model)
    for layer in frozen.layers:
        layer.hold(layer.system().map(lambda t: t * 0.5))
    return freeze(frozen)


CHANGES = (step, averaged, one_bit, one_bit_of_a_copy, a_buffer, other_weights, another_gamma)
CHANGES = (*CHANGES, another_system, torch.nn.Module.half, torch.nn.Module.double)


@DIRECTIONS
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_network_that_differs_declares_nothing(bidirectional, change):
    _, model = proved(bidirectional)
    changed = change(model)
    assert changed.declared_gain is None
    assert not changed.declared_by_bound


@DIRECTIONS
def test_the_same_network_elsewhere_declares_it(bidirectional, tmp_path):
    run, model = proved(bidirectional)
    model.train()(torch.ones(2, 64, 1)).sum().backward()
    assert model.declared_gain == model.eval().declared_gain == GAMMA, "no step was taken"
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    loaded = untrained(run.config, run.task.sizes)
    loaded.load_state_dict(torch.load(tmp_path / "weights.pt"))
    for same in (loaded, copy.deepcopy(model), freeze(model), freeze(freeze(loaded))):
        assert same.declared_gain == GAMMA
        assert same.declared_by_bound
    loaded.set_rate(2.0)
    assert loaded.declared_gain is None
    double = untrained(run.config, run.task.sizes).double()
    double.load_state_dict(torch.load(tmp_path / "weights.pt"))
    assert double.declared_gain is None


def test_a_product_holds_for_other_weights_but_not_for_other_systems():
    _, run = network("hinf", **(SMALL | {"gamma_by": "product"}))
    model = run.model
    assert step(model).declared_gain == model.half().declared_gain == GAMMA
    assert not model.declared_by_bound
    assert another_system(model.float()).declared_gain is None


WORDS = torch.full((9,), 7.0, dtype=torch.float64)


@pytest.mark.parametrize(
    "state",
    [
        torch.tensor([0.5, 1.0]),
        torch.tensor([math.nan, 0]),
        torch.ones(3),
        WORDS.index_fill(0, torch.tensor(0), 0.5),
        WORDS.index_fill(0, torch.tensor(0), math.nan),
        WORDS.index_fill(0, torch.tensor(3), math.nan),
        WORDS.index_fill(0, torch.tensor(3), 0.5),
        WORDS.index_fill(0, torch.tensor(3), -1.0),
        WORDS.index_fill(0, torch.tensor(3), 2.0**32),
    ],
)
def test_a_state_that_is_none_is_refused(state):
    with pytest.raises(UsageError, match="relaxation"):
        Relaxation().set_extra_state(state)


def test_a_state_is_that_of_before():
    one, other = Relaxation(), Relaxation()
    for factor, digest in ((1.0, b""), (3.5, b""), (3.5, bytes(range(32))), (2.0, b"\xff" * 32)):
        one.set(factor, proved=digest)
        other.set_extra_state(one.get_extra_state())
        assert (other.factor, other.proved) == (factor, digest)
