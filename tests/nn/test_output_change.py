"""The certified change of a network's output by other systems: never beaten, and no proof of a
lie."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench import registry
from ssmbench.analysis.network_bound import change as change_module
from ssmbench.analysis.network_bound import paired as paired_module
from ssmbench.analysis.network_bound import responses
from ssmbench.analysis.network_bound.change import change_bound, change_bound_from, composed_change
from ssmbench.analysis.network_bound.local import localised
from ssmbench.analysis.network_bound.lumped import static_block
from ssmbench.nn import output_change as module
from ssmbench.nn.blocks.base import Residual
from ssmbench.nn.freeze import freeze
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.output_change import (
    AtZero,
    ChangeBudget,
    OutputChange,
    declared_change,
    output_change,
)
from ssmbench.nn.pooling import Pooling
from ssmbench.reduction import Amount
from tests.builders import build_norm
from tests.nn.networks import INPUTS, network

STEPS = 12
BUDGET = ChangeBudget(multiplications=0.5, steps=25, starts=6)
REDUCER = registry.reducers.get("balanced_truncation").build()


def pair(name: str, amount: Amount, **options) -> tuple[SequenceModel, SequenceModel]:
    """A frozen network, and the same with reduced layers."""
    full = freeze(network(name, **options))
    reduced = freeze(full)
    for layer in reduced.layers:
        layer.hold(REDUCER.reduce(layer.system(), amount).system)
    return full, reduced


def found(full: SequenceModel, reduced: SequenceModel, norm: float = 1.0) -> OutputChange:
    return output_change(full, reduced, torch.zeros(STEPS, INPUTS), norm, BUDGET)


#: Twenty networks: parametrization, nonlinearity and pooling.
MODELS = [
    *itertools.product(
        ("l2ru", "lru"), ("gelu", "tanh", "silu"), (None, Pooling.mean, Pooling.last)
    ),
    ("s4d", "gelu", Pooling.last),
    ("lssl", "relu", Pooling.unit),
]


def test_twenty_reduced_networks_never_change_more_than_declared():
    """With 2 states of 4 or 6 left; the median of declared to attacked is at most 5."""
    ratios = []
    for seed, (name, nonlinearity, pooling) in enumerate(MODELS):
        options = {"nonlinearity": nonlinearity, "pooling": pooling, "seed": seed}
        change = found(*pair(name, Amount(order=2), **options))
        assert change.reason == ""
        assert 0 <= change.at_zero <= change.attacked <= change.declared * (1 + 1e-9)
        ratios.append(change.declared / change.attacked)
    assert np.median(ratios) <= 5, sorted(ratios)


@settings(max_examples=15, deadline=None)
@given(
    name=st.sampled_from(["lru", "s5", "l2ru"]),
    nonlinearity=st.sampled_from(["gelu", "relu", "sll", "groupsort", "identity"]),
    norm=st.sampled_from([0.1, 1.0, 30.0]),
    pooling=st.sampled_from([None, *Pooling]),
    learned=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_random_inputs_stay_below(name, nonlinearity, norm, pooling, learned, seed):
    options = {"nonlinearity": nonlinearity, "pooling": pooling, "seed": seed}
    full, reduced = pair(name, Amount(share=0.5), learned=learned, **options)
    if learned:  # of the states that are left
        for layer in reduced.layers:
            layer.x0 = torch.nn.Parameter(_first(layer), requires_grad=False)
    bound = declared_change(full, reduced, torch.zeros(STEPS, INPUTS), norm, 0.05)
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(20, STEPS, INPUTS, dtype=torch.float64, generator=generator)
    u = torch.cat([0 * u[:1], norm * u / u.flatten(1).norm(dim=1)[:, None, None]])
    apart = (full(u) - reduced(u)).flatten(1).norm(dim=1)
    assert apart.max().item() <= bound.at(norm) * (1 + 1e-9)


def _first(layer) -> torch.Tensor:
    states = layer.system().states
    complex_ = layer.system().dynamics.is_complex()
    x0 = layer.x0 if layer.x0.ndim == 2 + complex_ else torch.stack([layer.x0, 0 * layer.x0], -1)
    return x0[:, :states]


def test_without_a_reduction_nothing_changes():
    full = freeze(network("lru"))
    change = found(full, freeze(full))
    assert change.attacked == 0
    assert change.declared < 1e-9


@pytest.mark.parametrize("pooling", [None, Pooling.mean, Pooling.last])
def test_a_linear_network_is_bounded_closely(pooling):
    change = found(*pair("lru", Amount(order=4), nonlinearity="identity", pooling=pooling))
    assert change.attacked <= change.declared <= 1.6 * change.attacked


def test_smaller_inputs_are_bounded_by_less():
    both = pair("l2ru", Amount(order=2))
    like = torch.zeros(STEPS, INPUTS)
    bounds = [declared_change(*both, like, norm, 0.5).at(norm) for norm in (0.001, 1.0, 30.0)]
    assert bounds == sorted(bounds)
    assert bounds[0] < 1.1 * found(*both, 0.001).at_zero


def test_a_bound_that_is_loose_for_want_of_multiplications_says_so():
    both = pair("lru", Amount(order=4))
    like = torch.zeros(STEPS, INPUTS)
    loose, close = (declared_change(*both, like, 1.0, budget) for budget in (1e-9, 0.5))
    assert "which is loose: the network is too large" in loose.reason
    assert close.reason == ""
    assert close.at(1.0) < loose.at(1.0) < math.inf


# --- what has no bound says so --------------------------------------------------------------------


def test_layers_in_two_directions_have_a_reason():
    full = freeze(network("lru", bidirectional=True))
    change = found(full, freeze(full))
    assert change.declared == float("inf")
    assert change.reason == "block 0 has SSM layers in two directions"


def test_a_norm_without_a_constant_has_its_reason():
    full = freeze(network("lru", norm=build_norm("layer").double()))
    assert "LayerNorm divides by the signal's spread" in found(full, freeze(full)).reason


def test_networks_that_differ_elsewhere_are_refused():
    full, reduced = pair("lru", Amount(order=4))
    reduced.blocks[0].mix.weight.mul_(1.1)
    change = found(full, reduced)
    assert change.declared == float("inf")
    assert change.reason == "the networks differ in more than their systems"
    lumps = [module._lumped(m, INPUTS, (STEPS,)) for m in (full, reduced)]
    with pytest.raises(ValueError, match="in more than their systems"):
        change_bound(*lumps, [], 1.0, 1e9)


def test_a_block_that_calls_its_layer_otherwise_has_a_reason():
    full, reduced = pair("lru", Amount(order=2), layers=1)
    for model in (full, reduced):
        layer = model.layers[0]
        called = {"__call__": lambda self, *given: self.run(given[0])[0]}
        layer.__class__ = type("Unhooked", (type(layer),), called)
    assert found(full, reduced).reason == "what an SSM layer reads for zero input is unknown"


@pytest.mark.parametrize("nonlinearity", ["tanh", "identity"])
def test_all_lengths_are_covered_and_one_is_not_enough(nonlinearity):
    """A mean over fewer steps changes more by another direct term."""
    full = freeze(network("lru", nonlinearity=nonlinearity, pooling=Pooling.mean, layers=1))
    both = full, freeze(full)
    system = full.layers[0].system()
    both[1].layers[0].hold(replace(system, D=0.5 * system.D))
    like = torch.zeros(STEPS, INPUTS)
    attacked = output_change(*both, like[:2], 1.0, BUDGET).attacked
    alone = declared_change(*both, like, 1.0, 0.5).at(1.0)
    together = output_change(*both, like, 1.0, BUDGET, (2, 7, STEPS))
    assert together.lengths == (2, 7, STEPS)
    assert alone < attacked <= together.attacked * (1 + 1e-3)
    assert together.attacked <= together.declared
    reason = declared_change(*both, like, 1.0, 0.5, range(1, 300)).reason
    assert reason == "sequences of more than 256 different lengths"


def test_what_is_allowed_for_rounding_is_a_share_of_the_largest_signal():
    full, reduced = pair("lru", Amount(order=2), layers=1)
    small = AtZero.of(full, reduced, torch.zeros(STEPS, INPUTS), (STEPS,))
    large = module._Sizes()
    with large.of([full]):
        full.double()(torch.zeros(1, STEPS, INPUTS).double())
    assert small.inputs[0].error >= 1e-9 * large.sum * (1 - 1e-9)
    assert small.change >= 1e-12 * large.norm * (1 - 1e-9)


def test_bent_slopes_behind_the_last_system_read_signals_with_their_remainders():
    """As they would not if those of the last block with a system were left out."""
    full, reduced = pair("lru", Amount(order=2), layers=1, nonlinearity="tanh")
    one, other = (module._lumped(m, INPUTS, (STEPS,)) for m in (full, reduced))
    shift = registry.nonlinearities.get("tanh").build(d_model=4).shifted(4)
    one, other = (replace(n, blocks=[*n.blocks, static_block(shift)]) for n in (one, other))
    none, bent = np.zeros(4), np.full(4, 0.1)
    assert one.blocks[0].remainders == 4
    for last, remainders in ((none, [4, 4]), (bent, [8, 8])):
        made = paired_module.paired(one, other, 1.0, bends=[none, last])
        assert [block.remainders for block in made.blocks] == remainders


# --- planted lies ---------------------------------------------------------------------------------


def beaten(full: SequenceModel, reduced: SequenceModel, norm: float = 1.0) -> bool:
    change = found(full, reduced, norm)
    return change.attacked > change.declared * (1 + 1e-6)


LINEAR = {"nonlinearity": "identity", "pooling": None}


def test_half_of_the_difference_is_beaten(monkeypatch):
    """A factor 2 dropped of G - G_r."""
    both = pair("lru", Amount(order=4), **LINEAR)
    honest = responses.difference
    assert not beaten(*both)
    monkeypatch.setattr(responses, "difference", lambda *a: honest(*a).scaled(0.5))
    assert beaten(*both)


def test_the_reduced_system_in_place_of_the_difference_is_beaten(monkeypatch):
    """Of a system of which nothing but a small direct term is left."""
    full = freeze(network("lru", **LINEAR))
    reduced = freeze(full)
    for layer, other in zip(full.layers, reduced.layers, strict=True):
        system = replace(layer.system(), D=1e-3 * layer.system().D)
        layer.hold(system)
        other.hold(REDUCER.reduce(system, Amount(order=0)).system)
    assert not beaten(full, reduced)
    monkeypatch.setattr(responses, "difference", lambda G, H, x: responses.filtered(H, x))
    assert beaten(full, reduced)


def test_slopes_of_a_smaller_interval_are_beaten():
    """Those near zero are half of the largest ones, which large inputs reach."""
    full, reduced = pair("lru", Amount(order=2), residual=Residual.none, seed=4)
    for name, parameter in itertools.chain(full.named_parameters(), reduced.named_parameters()):
        parameter.mul_("bias" not in name)
    like, norm = torch.zeros(STEPS, INPUTS), 100.0
    lumps = [module._lumped(m, INPUTS, (STEPS,)) for m in (full, reduced)]
    zero = AtZero.of(full, reduced, like, (STEPS,))
    lie = localised(lumps, zero.centres, 1e-3, 1e9)
    bound = change_bound(*lie, zero.inputs, norm, 1e9).at(norm)
    assert found(full, reduced, norm).attacked > bound
    assert not beaten(full, reduced, norm)


def test_a_known_change_that_is_left_out_is_beaten(monkeypatch):
    """The change for zero input is most of what small inputs see."""
    both = pair("s4d", Amount(order=2), nonlinearity="relu", seed=2)
    assert not beaten(*both, 1e-3)
    monkeypatch.setattr(paired_module.ZeroInput, "is_zero", True)
    monkeypatch.setattr(module, "composed_change", lambda *a: module._none(""))
    assert beaten(*both, 1e-3)


def test_the_norm_of_the_known_channel_counts(monkeypatch):
    both = pair("s4d", Amount(order=2), nonlinearity="relu", seed=2)
    honest = change_module._weighted
    monkeypatch.setattr(change_module, "_weighted", lambda *a: (honest(*a)[0], 0.0))
    assert beaten(*both, 1e-3)


# --- its parts ------------------------------------------------------------------------------------


def test_all_three_bounds_hold():
    full, reduced = pair("lru", Amount(order=4))
    lumps = [module._lumped(m, INPUTS, (STEPS,)) for m in (full, reduced)]
    zero = AtZero.of(full, reduced, torch.zeros(STEPS, INPUTS), (STEPS,))
    least = found(full, reduced).attacked
    by_signals = change_bound(*lumps, zero.inputs, 1.0, 1e9).at(1.0)
    composed = composed_change(*lumps, zero.inputs, 1.0).at(1.0)
    from_zero = change_bound_from(*lumps, zero.centres, zero.change, 1e9).at(1.0)
    assert least <= min(by_signals, from_zero) <= composed


@settings(max_examples=60, deadline=None)
@given(
    middle=st.floats(-4, 4),
    width=st.floats(0, 6),
    name=st.sampled_from([e.name for e in registry.nonlinearities if e.factory.turns is not None]),
)
def test_slopes_in_an_interval_hold_on_a_grid(middle, width, name):
    nonlinearity = registry.nonlinearities.get(name).build(d_model=1)
    low, high = np.array([middle - width]), np.array([middle + width])
    least, largest = nonlinearity.slopes_between(low, high)
    slopes = nonlinearity._slopes_at(np.linspace(low[0], high[0], 2001))
    assert least[0] <= slopes.min() + 1e-12
    assert slopes.max() <= largest[0] + 1e-12
    if name != "relu":
        assert largest[0] - least[0] <= slopes.max() - slopes.min() + 1e-4


def test_curvatures_are_lipschitz_constants_of_slopes():
    x = np.linspace(-9, 9, 200_001)
    for entry in registry.nonlinearities:
        curvature = entry.factory.curvature
        if curvature is None:
            continue
        slopes = entry.build(d_model=1)._slopes_at(x.copy())
        steepest = abs(np.diff(slopes)).max() / (x[1] - x[0])
        assert steepest <= curvature + 1e-9, entry.name
        assert curvature <= 1.0001 * steepest + 1e-9, entry.name


def test_a_subclass_with_another_map_inherits_no_turns():
    gelu = registry.nonlinearities.get("gelu").factory

    class Other(gelu):
        def forward(self, x):
            return 0.5 * x

    assert Other.turns is None
    assert Other.curvature is None
