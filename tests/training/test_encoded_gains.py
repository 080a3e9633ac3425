"""Gains of networks whose input has no norm, and of sequences of several lengths."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from ssmbench.analysis.certificate import TOLERANCE
from ssmbench.build.network import build_network
from ssmbench.config import AnalysisConfig, resolve, typed
from ssmbench.nn.model import SequenceModel
from ssmbench.runs.load import save_worst_input
from ssmbench.spec import Channels, InputSpec, Pair, TaskSizes, Tokens
from ssmbench.training.gains import measure_gains
from ssmbench.training.monitor import gain_figures

CONFIG = AnalysisConfig(attack_steps=6, attack_restarts=4)
LENGTH, WORDS = 12, 7


def network(spec: InputSpec, **model) -> SequenceModel:
    torch.manual_seed(0)
    small = {"d_model": 4, "n_layers": 1, "parametrization": "l2ru", "discretizer": None}
    run = typed(resolve({"model": small | model}))
    sizes = TaskSizes(spec, 3, length=LENGTH)
    return build_network(run, sizes).eval()


def tokens(*shape: int) -> torch.Tensor:
    return torch.randint(WORDS, shape, generator=torch.Generator().manual_seed(1))


def test_gains_of_tokens_are_those_of_the_encoded_input():
    model = network(Tokens(WORDS))
    found = measure_gains(model, tokens(4, LENGTH), CONFIG)
    gains = found.gain.network
    assert gains.gains_from == "encoded input"
    assert 0 < gains.attacked <= gains.bound * (1 + TOLERANCE) < math.inf
    assert found.gain.violations == ()
    base, d = found.worst.base, found.worst.disturbance
    assert base.shape == d.shape == (LENGTH, 4)
    with torch.no_grad():
        change = model.from_encoded((base + d)[None]) - model.from_encoded(base[None])
    assert (change.norm() / d.norm()).item() == pytest.approx(gains.attacked, rel=1e-3)


def test_gains_of_pairs_are_those_of_both_encodings():
    model = network(Pair(Channels(2)))
    inputs = torch.randn(3, 2, LENGTH, 2, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([[12, 9], [5, 12], [12, 12]])
    found = measure_gains(model, inputs, CONFIG, lengths)
    assert found.gain.network.gains_from == "encoded input"
    assert found.worst.base.shape[1] == 2 * 4
    assert found.gain.violations == ()


@pytest.mark.parametrize("spec", [Tokens(WORDS), Pair(Channels(2)), Channels(2)])
def test_lost_weights_are_measured_and_not_a_crash(spec):
    ends = {"encoder": "bounded_linear"} if isinstance(spec, Pair) else {"gamma": 2.0}
    model = network(spec, parametrization="contraction", residual="convex", mix=False, **ends)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(math.nan)
    shapes = {Tokens: (2, LENGTH), Pair: (2, 2, LENGTH, 2), Channels: (2, LENGTH, 2)}
    inputs = torch.zeros(shapes[type(spec)], dtype=torch.int64 if spec == Tokens(WORDS) else None)
    gains = measure_gains(model, inputs, CONFIG).gain.network
    assert gains.attacked == gains.bound == math.inf
    assert "not finite" in gains.reason


def test_the_bound_is_that_of_the_shortest_sequence_where_the_mean_is_taken():
    """The mean of 3 steps may change by more than that of 12, by a factor of 2."""
    model = network(Channels(2), pooling="mean")
    inputs = torch.randn(4, LENGTH, 2, generator=torch.Generator().manual_seed(1))
    whole = measure_gains(model, inputs, CONFIG).gain.network
    found = measure_gains(model, inputs, CONFIG, torch.tensor([12, 3, 8, 12]))
    assert whole.product_bound is not None
    assert found.gain.network.product_bound == pytest.approx(2 * whole.product_bound)
    assert whole.bound < found.gain.network.bound < found.gain.network.product_bound
    assert found.worst.base.shape[0] == 3
    assert found.gain.violations == ()


def test_the_longest_sequence_is_attacked_where_no_length_has_a_larger_bound():
    model = network(Channels(2), pooling="last")
    inputs = torch.randn(4, LENGTH, 2, generator=torch.Generator().manual_seed(1))
    whole = measure_gains(model, inputs, CONFIG).gain.network
    found = measure_gains(model, inputs, CONFIG, torch.tensor([12, 3, 8, 12]))
    assert found.gain.network.bound_lengths == (3, 8, 12)
    assert dataclasses.replace(found.gain.network, bound_lengths=(12,)) == whole
    assert found.worst.base.shape[0] == LENGTH


@pytest.mark.parametrize("spec", [Tokens(WORDS), Channels(2)])
def test_time_varying_layers_are_analysed_at_valid_steps(spec):
    """What is in the padding does not matter, NaN included."""
    model = network(spec, parametrization="selective", discretizer="zoh")
    inputs = tokens(2, LENGTH) if isinstance(spec, Tokens) else torch.randn(2, LENGTH, 2)
    lengths, padded = torch.tensor([LENGTH, 6]), inputs.clone()
    padded[1, 6:] = 0 if isinstance(spec, Tokens) else math.nan
    first, second = (gain_figures(model, x, lengths) for x in (inputs, padded))
    assert first == second
    assert math.isfinite(first["layer0/frozen_gain"])


def test_a_worst_input_says_what_it_disturbs(tmp_path):
    found = measure_gains(network(Tokens(WORDS)), tokens(2, LENGTH), CONFIG)
    with np.load(save_worst_input(tmp_path, found), allow_pickle=False) as saved:
        assert str(saved["gains_from"]) == "encoded input"
        assert saved["base"].shape == (LENGTH, 4)
