"""The tighter network bound over long horizons: transforms in two stages, and a search on a part of
the frequencies, whose result is proved on all."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from ssmbench.analysis.network_bound import bound as bound_module
from ssmbench.analysis.network_bound import multipliers, network_bound, proof, search
from ssmbench.analysis.network_bound.enclosed import Enclosed
from ssmbench.analysis.network_bound.lumped import LumpedNetwork, Readout, static_block
from ssmbench.analysis.network_bound.responses import Response, bin_weights, bins, transform
from ssmbench.analysis.network_bound.shifted import ShiftedMap
from ssmbench.systems import DiscreteDiagonal

WORK = 2e9


@pytest.mark.parametrize("steps", [129, 300, 1024])
def test_a_transform_in_two_stages_is_the_transform(steps):
    """numpy's differs from it by rounding, which both bounds cover."""
    rng = np.random.default_rng(steps)
    values = rng.normal(size=(steps, 2, 3)) * 0.99 ** np.arange(steps)[:, None, None]
    found = transform(Response(values, np.zeros(3)))
    count = bins(steps)
    assert count >= 2 * steps - 1
    exact = np.fft.rfft(values, count, axis=0)
    assert found.values.shape == exact.shape
    missed = np.linalg.norm(found.values - exact, axis=1).max(0)
    assert (missed <= found.errors).all()
    assert (found.errors < 1e-10).all()
    energy = (bin_weights(steps)[:, None] * (abs(found.values) ** 2).sum(1)).sum(0)
    np.testing.assert_allclose(energy, (values**2).sum((0, 1)), rtol=1e-12)


def network(readout: Readout, steps: int, angle: float = 1.3) -> LumpedNetwork:
    """Two residual blocks of GELUs, a resonance so sharp that it lies between the frequencies with
    which a search begins."""
    rng = np.random.default_rng(0)
    radius = np.array([[0.995], [0.9]])
    system = DiscreteDiagonal(
        lam=torch.from_numpy(radius * np.exp(1j * np.array([[angle], [0.1]]))),
        B=torch.ones(2, 1, 1, dtype=torch.complex128),
        C=torch.tensor(1 - radius)[:, None].to(torch.complex128),
        D=torch.zeros(2, 1, 1, dtype=torch.float64),
        conjugate=True,
    )
    f = ShiftedMap.of_slopes(-0.13, 1.13, 2).then(Enclosed(rng.normal(size=(2, 2)) / 2))
    block = dataclasses.replace(
        static_block(f), system=system, skip=Enclosed.identity(2), through=f.linear
    )
    ends = Enclosed(rng.normal(size=(2, 1))), Enclosed(rng.normal(size=(2, 2)))
    return LumpedNetwork(ends[0], [block, block], ends[1], readout, (steps,))


@pytest.mark.parametrize("readout", [Readout.steps, Readout.mean, Readout.last])
def test_a_part_of_the_frequencies_gives_nearly_the_bound_of_all(readout, monkeypatch):
    """Or a smaller one: of predictions per step the search on all has a barrier for each."""
    given = network(readout, 700)
    part = network_bound(given, WORK)
    monkeypatch.setattr(search, "_WHOLE", 10**9)
    whole = network_bound(given, 20 * WORK)
    assert math.isfinite(whole.gain)
    assert part.gain <= 1.03 * whole.gain
    if readout is not Readout.steps:
        assert part.gain >= 0.97 * whole.gain


def test_multipliers_of_a_part_that_misses_the_peak_are_drawn_back(monkeypatch):
    """On its first frequencies alone they are not feasible on all, and prove nothing."""
    given = network(Readout.steps, 700)
    reads, outputs = bound_module._spectra(given)
    problem = bound_module._problem(given, reads, outputs)
    first = multipliers.start(problem, [b.remainders for b in given.blocks])
    blind = search._Part(problem, search._first(len(problem.reads))[:20]).problem
    T = multipliers.optimise(blind, first, WORK)
    assert multipliers.Point.at(problem, T) is None
    assert proof.prove_steps(bound_module._scaled(given, reads, outputs, T)) == math.inf
    found = search.search(problem, first, WORK)
    assert multipliers.Point.at(problem, found) is not None
    assert network_bound(given, WORK).gain < math.inf


@pytest.mark.parametrize("sums", [True, False])
def test_a_part_weighs_as_much_as_the_whole(sums):
    readout = Readout.mean if sums else Readout.steps
    given = network(readout, 400)
    problem = bound_module._problem(given, *bound_module._spectra(given))
    part = search._Part(problem, search._first(len(problem.reads)))
    if sums:
        assert part.problem.shares.sum() == pytest.approx(problem.shares.sum())
        assert len(part.problem.shares) == len(part.problem.reads)
    else:
        assert part.problem.shares is None
