"""Both directions of a block with one A, B and step size and two C: ``model.tied``."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench import registry
from ssmbench.analysis.gain import analyse
from ssmbench.build.network import build_network
from ssmbench.build.optimizer import build_optimizer
from ssmbench.config import AnalysisConfig, resolve, typed
from ssmbench.errors import UsageError
from ssmbench.nn.model import SequenceModel
from ssmbench.spec import Channels, TaskSizes
from ssmbench.training.gains import measure_gains
from tests.builders import build_parametrization
from tests.nn.networks import error, signal

#: Parametrizations whose C can be chosen apart from A and B.
TIED = [e.name for e in registry.parametrizations if e.factory.output_parameters]
OTHERS = [name for name in registry.parametrizations.names() if name not in TIED]
SIZES = TaskSizes(Channels(2), 3, 20, per_step=True)


def built(name: str = "s4d", seed: int = 0, **model) -> SequenceModel:
    continuous = registry.parametrizations.get(name).factory.is_continuous()
    base = {
        "d_model": 4,
        "n_layers": 1,
        "parametrization": name,
        "discretizer": "zoh" if continuous else None,
        "bidirectional": True,
        "tied": True,
    }
    torch.manual_seed(seed)
    return build_network(typed(resolve({"model": base | model})), SIZES).double()


@pytest.mark.parametrize("name", TIED)
def test_what_is_declared_about_C_and_D_is_so(name):
    """C depends on its parameters alone, D on its own, and D is zero where they are."""
    module = build_parametrization(name)
    before = {key: value.clone() for key, value in module().tensors().items()}
    with torch.no_grad():
        for parameter in module.output_parameters:
            module.get_parameter(parameter).normal_()
        for parameter in module.direct_parameters:
            module.get_parameter(parameter).zero_()
    after = module().tensors()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"C", "D"}
    assert not after["D"].any()


@pytest.mark.parametrize("name", TIED)
@pytest.mark.parametrize("readouts", [("before", None), ("after", None), ("after", "before")])
def test_both_layers_have_the_same_states_and_their_own_outputs(name, readouts):
    model = built(name, readout=readouts[0], reverse_readout=readouts[1])
    first, second = model.layers
    shared = {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}
    named = dict(first.parametrization.named_parameters())
    apart = {*first.parametrization.output_parameters, *first.parametrization.direct_parameters}
    assert shared == {id(p) for key, p in named.items() if key not in apart}
    systems = first.system(), second.system()
    torch.testing.assert_close(*(system.dynamics for system in systems))
    torch.testing.assert_close(systems[0].B, systems[1].B)
    assert not torch.allclose(systems[0].C, systems[1].C)
    block, x = model.blocks[0], torch.randn(2, 9, 4, dtype=torch.float64)
    both = first(x) + second(x.flip(1)).flip(1)
    assert error(block(x), x + block.mix(block.nonlinearity(both))) < 1e-12


def test_an_input_is_read_once_where_the_reverse_layer_reads_before_it():
    model = built(readout="after", reverse_readout="before")
    u = torch.zeros(1, 9, 4, dtype=torch.float64)
    u[0, 4] = 1
    assert not model.layers[1](u)[0, :5].any()
    assert model.layers[1](u)[0, 5].any()


def test_copies_precisions_steps_and_files_keep_the_layers_tied(tmp_path):
    model = built("s5")
    for tied in (copy.deepcopy(model), model.float().double()):
        tied(signal(1, 9)).square().sum().backward()
        build_optimizer(tied, typed(resolve({"model": {"parametrization": "s5"}})).optimizer).step()
        first, second = (layer.parametrization for layer in tied.layers)
        assert first.log_dt is second.log_dt
        torch.testing.assert_close(first().lam, second().lam)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other = built("s5", seed=1)
    other.load_state_dict(torch.load(tmp_path / "weights.pt"))
    torch.testing.assert_close(other(signal(1, 9)), model(signal(1, 9)))


def test_an_optimizer_trains_each_shared_parameter_once():
    model = built(parametrization={"name": "s4d", "published_groups": True})
    optimizer = build_optimizer(model, typed(resolve({})).optimizer)
    trained = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert len(trained) == len(set(trained))
    apart = built(parametrization={"name": "s4d", "published_groups": True}, tied=False)
    ssm = model.layers[0].parametrization
    saved = sum(p.numel() for key, p in ssm.named_parameters() if key != "C")
    assert apart.parameter_count() - model.parameter_count() == saved


# --- gains ----------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(
    name=st.sampled_from([n for n in TIED if n not in ("lssl", "unconstrained_dense")]),
    readout=st.sampled_from(["before", "after"]),
    seed=st.integers(0, 1000),
)
def test_random_differences_stay_below_the_bound(name, readout, seed):
    model = built(name, seed, readout=readout, nonlinearity="gelu")
    bound = model.bound([analyse(layer.system()).hinf for layer in model.layers], 24).value
    u = signal(1, 24)
    v = u + torch.randn_like(u)
    with torch.no_grad():
        assert (model(u) - model(v)).norm() <= bound * (u - v).norm() * (1 + 1e-9)


def test_each_direction_is_verified_and_attacked_and_none_declares_a_gain():
    model = built("s4d", nonlinearity="gelu").float()
    gain = measure_gains(
        model, torch.randn(2, 20, 2), AnalysisConfig(attack_steps=10, attack_restarts=2)
    ).gain
    assert len(gain.layers) == 2
    assert gain.violations == ()
    assert all(layer.declared is None for layer in gain.layers)
    assert all(0 < layer.attacked <= layer.verified * (1 + 1e-4) for layer in gain.layers)
    assert gain.network.attacked <= gain.network.bound
    assert math.isfinite(gain.network.bound)


def test_a_normaliser_bounds_each_direction_and_the_network():
    options = {"normaliser": {"name": "hinf", "gamma": 1.5}, "nonlinearity": "relu"}
    model = built("s4d", gamma=4.0, **options)
    assert model.blocks[0].declared_gain() == pytest.approx(3.0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    gains = [analyse(layer.system()).hinf for layer in model.layers]
    assert max(gains) <= 1.5
    u, v = signal(2, 24).split(1)
    with torch.no_grad():
        assert (model(u) - model(v)).norm() <= 4.0 * (u - v).norm()


# --- what does not fit ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", OTHERS)
def test_parametrizations_whose_C_is_not_apart_are_refused(name):
    with pytest.raises(UsageError, match=r"^model\.tied: \w+ cannot share A and B .* C is not par"):
        built(name)


@pytest.mark.parametrize("option", [{"tied": True}, {"reverse_readout": "before"}])
def test_one_direction_has_nothing_to_tie(option):
    with pytest.raises(UsageError, match=r"needs model\.bidirectional=true"):
        built(**{"bidirectional": False, "tied": False} | option)
