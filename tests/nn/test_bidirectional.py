"""Two SSM layers a block, one in reversed time: what it computes, and its gains."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench.analysis.attack import attack
from ssmbench.analysis.gain import analyse
from ssmbench.build.network import build_network
from ssmbench.config import AnalysisConfig, resolve, typed
from ssmbench.errors import UsageError
from ssmbench.nn.blocks.base import Residual
from ssmbench.nn.pooling import Pooling
from ssmbench.scans.sequence_parallel import Segments
from ssmbench.spec import Channels, TaskSizes
from ssmbench.training.gains import measure_gains
from ssmbench.training.layer_analysis import poles
from ssmbench.training.monitor import gain_figures
from tests.nn.networks import NAMES, TIME_INVARIANT, error, network, signal
from tests.training.runs import check

LENGTH = 24


@pytest.mark.parametrize("name", NAMES)
def test_it_adds_a_second_layer_in_reversed_time(name):
    model = network(name, bidirectional=True, layers=1)
    block, x = model.blocks[0], torch.randn(2, LENGTH, 4, dtype=torch.float64)
    forward, backward = model.layers
    both = forward(x) + backward(x.flip(1)).flip(1)
    assert error(block(x), x + block.mix(block.nonlinearity(both))) < 1e-12
    assert {id(p) for p in forward.parameters()}.isdisjoint(map(id, backward.parameters()))


@pytest.mark.parametrize("name", NAMES)
def test_every_output_sees_every_input(name):
    model = network(name, bidirectional=True, layers=1)
    u = signal(1, 9).requires_grad_()
    for step in (0, 8):
        (gradient,) = torch.autograd.grad(model(u)[0, step].sum(), u)
        assert (gradient.abs().sum(-1) > 0).all()


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(TIME_INVARIANT),
    pooling=st.sampled_from([None, *Pooling]),
    residual=st.sampled_from(Residual),
    distance=st.sampled_from([1e-3, 1.0, 100.0]),
    seed=st.integers(0, 1000),
)
def test_random_differences_stay_below_the_bound(name, pooling, residual, distance, seed):
    model = network(name, bidirectional=True, pooling=pooling, residual=residual, seed=seed)
    bound = model.bound([analyse(x.system()).hinf for x in model.layers], LENGTH).value
    u = signal(1, LENGTH)
    v = u + distance * torch.randn_like(u)
    with torch.no_grad():
        assert (model(u) - model(v)).norm() <= bound * (u - v).norm() * (1 + 1e-9)


def test_the_two_gains_add_and_an_adversary_needs_both():
    """Twice the same static map: the sum's gain is twice theirs, so nothing less would hold."""
    options = {"nonlinearity": "identity", "mix": False, "residual": Residual.none}
    model = network("contraction", bidirectional=True, layers=1, **options)
    first, second = model.layers
    second.load_state_dict(first.state_dict())
    gains = [analyse(layer.system()).hinf for layer in model.layers]
    block = model.blocks[0]
    assert block.bound(sum(gains)).value == pytest.approx(2 * gains[0])
    base = torch.zeros(6, 60, 4, dtype=torch.float64)
    found = attack(block, base, torch.ones(6), steps=100, seed=0).gain
    assert gains[0] * 1.2 < found <= sum(gains) * (1 + 1e-9)


@pytest.mark.parametrize("name", ["l2ru", "s4d", "contraction"])
def test_declared_verified_and_attacked_of_each_direction(name):
    model = network(name, bidirectional=True, learned=True, dtype=torch.float32)
    config = AnalysisConfig(attack_steps=10, attack_restarts=2)
    gain = measure_gains(model, signal(2, LENGTH, torch.float32), config).gain
    assert len(gain.layers) == 4
    assert gain.violations == ()
    assert math.isfinite(gain.network.bound)
    assert gain.network.attacked > 0
    assert len(poles(model)) == 4
    assert {key.partition("/")[0] for key in gain_figures(model)} == {f"layer{i}" for i in range(4)}


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_a_prescribed_gain_counts_both_directions(scale):
    model = network("contraction", bidirectional=True, gamma=3.0)
    assert model.blocks[0].declared_gain() == pytest.approx(2.0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, scale)
    gains = [analyse(layer.system()).hinf for layer in model.layers]
    assert model.bound(gains, LENGTH).value <= 3.0 * (1 + 1e-4)
    u, v = signal(2, LENGTH).split(1)
    with torch.no_grad():
        assert (model(u) - model(v)).norm() <= 3.0 * (u - v).norm()


def test_one_bound_a_direction_is_needed():
    with pytest.raises(ValueError, match="zip"):
        network("s4d", bidirectional=True).bound([1.0, 1.0], LENGTH)


# --- from a config --------------------------------------------------------------------------------

CONTENT = {"model": {"d_model": 4, "parametrization": "l2ru"}}
SIZES = TaskSizes(Channels(2), 3, 10, False)


def built(**model):
    config = resolve({"model": CONTENT["model"] | model})
    torch.manual_seed(0)
    return build_network(typed(config), SIZES)


def test_a_config_asks_for_it_and_a_gamma_is_shared():
    model = built(bidirectional=True, gamma=2.0, initial_state="learned")
    assert len(model.layers) == 4
    assert model.bidirectional
    assert all(layer.x0 is not None for layer in model.layers)
    assert model(torch.randn(1, 10, 2)).shape == (1, 3)


def test_without_it_a_network_has_the_parameters_that_it_had():
    model = built()
    assert not model.bidirectional
    assert {k.split(".")[2] for k in model.state_dict() if k.startswith("blocks")} == {
        "layer",
        "mix",
    }


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            {"sequence_parallel": 2, "trainer": {"devices": 2}, "model": {"bidirectional": True}},
            "a bidirectional network cannot share a sequence among ranks",
        ),
        ({"model": {"initial_state": "learnt"}}, "did you mean 'learned'"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(content, says):
    content = content | {"model": CONTENT["model"] | content["model"]}
    with pytest.raises(UsageError, match=says) as caught:
        check(resolve(content))
    assert "\n" not in str(caught.value)


def test_sharing_is_refused_by_the_network_too():
    model = network("s4d", bidirectional=True)
    with pytest.raises(UsageError, match="reversed order"), model.sharing(Segments()):
        pass
