"""Gains from a network's signal to differences of its outputs, against what an ascent finds."""

from __future__ import annotations

import math

import pytest
import torch

from ssmbench.analysis.gain import analyse
from ssmbench.nn.freeze import freeze
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.pooling import Pooling
from tests.builders import build_model
from tests.nn.networks import INPUTS, OUTPUTS, network, signal

LENGTH = 12
#: What an ascent may leave of a gain that a linear network attains.
NEAR = 0.98
#: How outputs are read, and the prescribed gain.
READINGS = [(None, 3.0), (Pooling.mean, None), (Pooling.unit, 3.0), (Pooling.last, None)]


def layer_gains(model: SequenceModel) -> list[float]:
    return [analyse(layer.system()).hinf for layer in model.layers]


def largest_changes(model: SequenceModel, steps: int = 40) -> torch.Tensor:
    """The largest ||d(y_a - y_b)|| / ||du|| that an ascent from random inputs finds, (K, K)."""
    frozen, found = freeze(model), torch.zeros(OUTPUTS, OUTPUTS, dtype=torch.float64)
    pairs = torch.tensor([(a, b) for a in range(OUTPUTS) for b in range(a)]).repeat(4, 1)
    u = signal(len(pairs), LENGTH).requires_grad_()
    v = (1.1 * u.detach().flip(0)).requires_grad_()
    optimizer = torch.optim.Adam([u, v], lr=0.1)
    for _ in range(steps):
        dy = frozen(u) - frozen(v)
        rows = torch.arange(len(pairs))
        moved = (dy[rows, ..., pairs[:, 0]] - dy[rows, ..., pairs[:, 1]]).reshape(len(pairs), -1)
        gains = moved.norm(dim=1) / (u - v).flatten(1).norm(dim=1)
        for (a, b), gain in zip(pairs.tolist(), gains.tolist(), strict=True):
            found[a, b] = found[b, a] = max(found[a, b].item(), gain)
        optimizer.zero_grad()
        (-gains.sum()).backward()
        optimizer.step()
    return found


@pytest.mark.parametrize(("pooling", "gamma"), READINGS)
def test_an_ascent_stays_below_every_pair(pooling, gamma):
    model = network(
        "l2ru", pooling=pooling, gamma=gamma, nonlinearity="relu" if gamma else "gelu", layers=1
    )
    found = model.pair_gains(layer_gains(model), LENGTH)
    assert found is not None
    assert bool((largest_changes(model, 15) <= found.matrix * (1 + 1e-9)).all())


@pytest.mark.parametrize("pooling", [None, Pooling.unit])
def test_a_network_without_blocks_attains_its_pairs(pooling):
    """y = W2 (W1 u + c1) + c2 with an orthogonal W1: constants in time reach the bound."""
    torch.manual_seed(0)
    model = build_model([], inputs=INPUTS, d_model=INPUTS, outputs=OUTPUTS, pooling=pooling)
    model = model.double()
    with torch.no_grad():
        model.encoder.weight.copy_(torch.eye(INPUTS))
    found = model.pair_gains([], LENGTH)
    reached = largest_changes(model)
    assert bool((reached <= found.matrix * (1 + 1e-9)).all())
    off = ~torch.eye(OUTPUTS, dtype=torch.bool)
    assert bool((reached[off] >= NEAR * found.matrix[off]).all())


def test_the_rows_of_the_decoder_count_and_never_more_than_the_whole():
    model = network("l2ru", pooling=Pooling.mean)
    gains = layer_gains(model)
    found, whole = model.pair_gains(gains, LENGTH), model.bound(gains, LENGTH).value
    off = ~torch.eye(OUTPUTS, dtype=torch.bool)
    assert bool((found.matrix[off] < math.sqrt(2) * whole).all())
    assert bool((found.output_gains <= whole).all())
    with torch.no_grad():
        model.decoder.weight[1] = model.decoder.weight[0]
    assert model.pair_gains(gains, LENGTH).matrix[0, 1] == 0


def test_a_gain_that_forgets_the_decoder_is_caught():
    """The planted lie: a decoder that doubles every difference, and gains that ignore it."""
    model = network("l2ru", pooling=Pooling.unit, layers=1)
    with torch.no_grad():
        model.decoder.weight.mul_(20)
    found = model.pair_gains(layer_gains(model), LENGTH).matrix
    norm = torch.linalg.matrix_norm(model.decoder.weight, 2).item()
    reached = largest_changes(model, 15)
    assert bool((reached <= found).all())
    assert not bool((reached <= found / norm).all())


def test_no_finite_bound_means_no_pairs():
    model = network("l2ru", pooling=Pooling.mean, norm="layer")
    assert model.pair_gains(layer_gains(model), LENGTH) is None
    model = network("l2ru", pooling=Pooling.mean)
    assert model.pair_gains([math.inf] * 2, LENGTH) is None
