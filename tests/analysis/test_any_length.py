"""A network's bound for every length: exact where it is linear, above every horizon, no lie."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from ssmbench.analysis.network_bound import any_length, any_length_bound, network_bound
from ssmbench.analysis.network_bound.enclosed import Enclosed
from ssmbench.analysis.network_bound.lumped import Readout
from ssmbench.analysis.network_bound.shifted import ShiftedMap
from ssmbench.systems import DiscreteDiagonal
from tests.analysis.test_network_bound import lumped, run

WORK, HORIZON = 3e8, 160


@pytest.fixture(scope="module")
def network():
    return lumped(0, Readout.steps)


@pytest.fixture(scope="module")
def horizon(network):
    return network_bound(dataclasses.replace(network, lengths=(HORIZON,)), WORK)


def linear(network):
    none = ShiftedMap.of_matrix(Enclosed.zeros(3, 3))
    parts = {"out": none.out, "read": none.read, "radius": none.radius, "groups": none.groups}
    return dataclasses.replace(
        network, blocks=[dataclasses.replace(b, **parts) for b in network.blocks]
    )


def peak(network) -> float:
    """The largest norm of the frequency response of a linear network."""
    best = 0.0
    for angle in np.linspace(0, math.pi, 401):
        x = network.encoder.value.astype(complex)
        for block in network.blocks:
            response = block.system.frequency_response(torch.tensor([angle]))[:, 0, 0, 0].numpy()
            x = block.skip.value @ x + block.through.value @ (response[:, None] * x)
        best = max(best, np.linalg.norm(network.decoder.value @ x, 2))
    return best


def test_a_linear_network_has_the_peak_of_its_response(network):
    given = linear(network)
    exact, found = peak(given), any_length_bound(given, WORK, HORIZON)
    assert found.reason == ""
    assert exact <= found.gain <= 1.01 * exact


def test_no_gain_below_the_peak_is_proved(network):
    given = linear(network)
    exact, whole = peak(given), any_length._composed(given, np.zeros(0))
    assert whole.is_contraction(1.01 * exact)
    assert not whole.is_contraction(0.999 * exact)
    unsure = dataclasses.replace(whole, errors=(1e-3, 1e-3, 1e-3, 1e-3))
    assert not unsure.is_contraction(1.01 * exact), "what the matrices may be off by is counted"


@pytest.mark.parametrize("readout", list(Readout))
def test_it_is_above_the_bounds_of_horizons_and_above_the_network(network, horizon, readout):
    given = dataclasses.replace(network, readout=readout)
    found = any_length_bound(given, WORK, HORIZON)
    assert found.reason == ""
    if readout is Readout.steps:
        assert 0.99 * horizon.gain <= found.gain <= 1.2 * horizon.gain
    rng = np.random.default_rng(0)
    for length in (1, 7, 200):
        alone = dataclasses.replace(given, lengths=(length,))
        u, d = rng.normal(size=(2, length, 2))
        change = np.linalg.norm(run(alone, u + d) - run(alone, u))
        assert change <= found.gain * np.linalg.norm(d)


def test_multipliers_that_are_wrong_prove_nothing(network, horizon):
    good = horizon.multipliers
    whole = any_length._composed(network, good)
    angles = any_length._angles(whole.system)
    gain = whole.gain_at(angles)
    assert whole.is_contraction(1.05 * gain)
    assert not whole.is_contraction(0.99 * gain)
    wrong = any_length._composed(network, np.where(np.arange(len(good)) < 3, 1e3, 1.0) * good)
    assert not wrong.is_contraction(1.05 * gain)


def test_none_has_a_reason(network, monkeypatch):
    system = network.blocks[0].system
    assert isinstance(system, DiscreteDiagonal)
    unstable = dataclasses.replace(system, lam=system.lam / system.lam.abs() * 1.01)
    blocks = [dataclasses.replace(b, system=unstable) for b in network.blocks]
    found = any_length_bound(dataclasses.replace(network, blocks=blocks), WORK, HORIZON)
    assert found.gain == math.inf
    assert found.reason
    monkeypatch.setattr(any_length, "_MOST_STATES", 5)
    assert "states" in any_length_bound(network, WORK, HORIZON).reason
