"""The finite-horizon gain against a dense SVD, known values, and the H-infinity norm."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ssmbench.analysis.hinf import hinf_norm
from ssmbench.analysis.horizon import horizon_gain
from ssmbench.errors import UsageError
from tests.analysis.systems_for_tests import dense, random_bank, random_matrices, resonator


def by_svd(system, horizon: int) -> float:
    """Largest singular value of the block Toeplitz matrix of one dense copy, formed in full."""
    A, B, C, D = (t[0].numpy() for t in (system.A, system.B, system.C, system.D))
    p, m = D.shape
    markov, state = [D], B
    for _ in range(horizon - 1):
        markov.append(C @ state)
        state = A @ state
    matrix = np.zeros((horizon * p, horizon * m), dtype=np.result_type(A, B, C, D))
    for i in range(horizon):
        for j in range(i + 1):
            matrix[i * p : (i + 1) * p, j * m : (j + 1) * m] = markov[i - j]
    return float(np.linalg.norm(matrix, 2))


def first_order(pole: float):
    return dense([[pole]], [[1.0]], [[1.0]], [[0.0]], discrete=True)


@pytest.mark.parametrize("complex_", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("gap", [0.5, 1e-2, 1e-6, 0.0, -0.2])
def test_agrees_with_svd(gap, complex_):
    rng = np.random.default_rng(0)
    for horizon in (1, 2, 3, 5, 8, 31, 32, 33, 64):
        states = int(rng.integers(1, 7))
        inputs, outputs = (int(n) for n in rng.integers(1, 4, 2))
        matrices = random_matrices(
            rng, states, inputs, outputs, gap=gap, discrete=True, complex_=complex_
        )
        system = dense(*matrices, discrete=True)
        expected = by_svd(system, horizon)
        assert float(horizon_gain(system, horizon)) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_more_inputs_than_states():
    rng = np.random.default_rng(1)
    system = dense(*random_matrices(rng, 2, 6, 5, gap=0.1, discrete=True), discrete=True)
    assert float(horizon_gain(system, 20)) == pytest.approx(by_svd(system, 20), rel=1e-9)


@pytest.mark.parametrize(("gap", "share"), [(1e-2, 0.9998), (1e-4, 0.5957), (1e-6, 0.01036)])
def test_known_shares_of_the_norm(gap, share):
    """1 / (z - 1 + gap) over 16384 steps, as a share of its H-infinity norm 1 / gap."""
    assert float(horizon_gain(first_order(1 - gap), 16384)) * gap == pytest.approx(share, rel=3e-4)


def test_integrator_over_a_million_steps():
    """The singular values of the discrete integrator are 1 / (2 sin((2k - 1) pi / (4 L - 2)))."""
    steps = 10**6  # D = 0: the matrix is the one of L - 1 steps with a leading one
    expected = 1 / (2 * math.sin(math.pi / (4 * (steps - 1) + 2)))
    assert float(horizon_gain(first_order(1.0), steps)) == pytest.approx(expected, rel=1e-9)


def test_bank_of_diagonal_copies():
    rng = np.random.default_rng(2)
    for conjugate in (True, False):
        bank = random_bank(rng, 4, 3, discrete=True, conjugate=conjugate)
        found = horizon_gain(bank, 40)
        for h in range(4):
            assert float(found[h]) == pytest.approx(by_svd(bank.head(h).to_dense(), 40), rel=1e-9)


@pytest.mark.slow
def test_rises_with_the_horizon_towards_the_norm():
    rng = np.random.default_rng(3)
    for _ in range(15):
        gap = 10 ** rng.uniform(-6, -0.3)
        states = int(rng.integers(1, 8))
        matrices = random_matrices(rng, states, 1, 2, gap=gap, discrete=True)
        system = dense(*matrices, discrete=True)
        gains = [float(horizon_gain(system, L)) for L in (1, 2, 3, 7, 50, 1000, 4096, 10**8)]
        norm = float(hinf_norm(system).norm)
        for shorter, longer in zip(gains, gains[1:] + [norm], strict=True):
            assert shorter <= longer * (1 + 1e-9)
        # long enough for every transient: two independent algorithms meet
        assert gains[-1] == pytest.approx(norm, rel=1e-3 if gap < 1e-5 else 1e-6)


def test_unstable_systems_grow_and_then_overflow():
    system = first_order(1.5)
    assert float(horizon_gain(system, 10)) == pytest.approx(by_svd(system, 10), rel=1e-9)
    far = float(horizon_gain(system, 1000))
    assert math.log(far) == pytest.approx(1000 * math.log(1.5), rel=1e-2)
    assert math.isinf(horizon_gain(system, 10000))


def test_zero_static_and_delayed_systems():
    A, one, none = [[0.5]], [[1.0]], [[0.0]]
    assert float(horizon_gain(dense(A, none, one, none, discrete=True), 100)) == 0
    assert float(horizon_gain(dense(A, none, one, [[-3.0]], discrete=True), 100)) == pytest.approx(
        3
    )
    # a delay of 20 steps: nothing comes out before
    delay = dense(np.eye(20, k=-1), np.eye(20, 1), np.eye(20)[-1:], none, discrete=True)
    assert float(horizon_gain(delay, 20)) == 0
    assert float(horizon_gain(delay, 21)) == pytest.approx(1, rel=1e-9)
    assert float(horizon_gain(delay, 500)) == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite_is_infinite(bad):
    gain = horizon_gain(first_order(0.5).map(lambda t: torch.where(t == 0.5, bad, t)), 10)
    assert math.isinf(gain)


def test_refuses_continuous_systems_and_empty_horizons():
    with pytest.raises(UsageError, match="discretize it first"):
        horizon_gain(resonator(1.0, 0.1), 10)
    with pytest.raises(UsageError, match="at least 1"):
        horizon_gain(first_order(0.5), 0)
