"""Upper bounds: never below the true gain, and close to it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ssmbench.analysis.hinf import hinf_norm
from ssmbench.analysis.horizon import horizon_gain
from ssmbench.analysis.upper_bound import hinf_bound, horizon_bound
from ssmbench.errors import UsageError
from tests.analysis.systems_for_tests import (
    dense,
    diagonal,
    random_bank,
    random_matrices,
    resonator,
)

TIMES = pytest.mark.parametrize("discrete", [True, False], ids=["discrete", "continuous"])


def check_bound(system, most: float = 1.01) -> None:
    """norm <= bound <= most x norm for every copy."""
    norm = hinf_norm(system).norm
    bound = hinf_bound(system)
    assert bound.shape == norm.shape
    assert bound.dtype == torch.float64
    assert bool((bound >= norm * (1 - 1e-12)).all()), (bound / norm).min()
    assert bool((bound <= norm * most).all()), (bound / norm).max()


@pytest.mark.parametrize("spread", [np.pi, 0.1, 1e-3])
@pytest.mark.parametrize("conjugate", [True, False])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (1, 3), (3, 2)])
def test_diagonal_banks(conjugate, spread, inputs, outputs):
    rng = np.random.default_rng(0)
    for states in (1, 5, 32):
        check_bound(
            random_bank(
                rng,
                6,
                states,
                discrete=True,
                conjugate=conjugate,
                log_gaps=(-8.0, -0.1),
                spread=spread,
                inputs=inputs,
                outputs=outputs,
            )
        )


@TIMES
@pytest.mark.parametrize("complex_", [False, True])
def test_dense_systems(discrete, complex_):
    rng = np.random.default_rng(1)
    for _ in range(15):
        states = int(rng.integers(1, 20))
        inputs, outputs = (int(n) for n in rng.integers(1, 5, 2))
        gap = 10 ** rng.uniform(-6, -0.3)
        matrices = random_matrices(
            rng, states, inputs, outputs, gap=gap, discrete=discrete, complex_=complex_
        )
        check_bound(dense(*matrices, discrete=discrete))


@pytest.mark.parametrize("horizon", [1, 2, 17, 200])
def test_horizon_bound_is_above_the_gain(horizon):
    rng = np.random.default_rng(2)
    systems = [
        random_bank(rng, 3, 6, discrete=True, conjugate=True, inputs=2, outputs=3),
        random_bank(rng, 3, 6, discrete=True, conjugate=False),
        dense(*random_matrices(rng, 5, 2, 3, gap=0.01, discrete=True), discrete=True),
    ]
    for system in systems:
        ratio = horizon_bound(system, horizon) / horizon_gain(system, horizon)
        assert bool((ratio >= 1 - 1e-9).all())
        assert bool((ratio <= 1.6).all())


def test_horizon_bound_of_a_static_gain_is_exact():
    system = diagonal([[0.5]], [[[0.0]]], [[[1.0]]], [[[-3.0]]], discrete=True)
    bound = float(horizon_bound(system, 100, oversampling=64))
    assert 3 <= bound < 3 * 1.0005


def test_horizon_bound_refuses_nonsense():
    with pytest.raises(UsageError, match="discretize it first"):
        horizon_bound(resonator(1.0, 0.1), 8)
    system = dense([[0.5]], [[1.0]], [[1.0]], [[0.0]], discrete=True)
    with pytest.raises(UsageError, match="at least 1"):
        horizon_bound(system, 0)
    with pytest.raises(UsageError, match="oversampling"):
        horizon_bound(system, 8, oversampling=1)
