"""Gains to differences of outputs, by three ways of knowing them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssmbench.analysis.pair_gains import PairGains

seeds = st.integers(0, 2**31)
sizes = st.integers(1, 5)


def random_matrix(seed: int, rows: int, columns: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)


@given(seeds, sizes, sizes)
def test_a_matrix_is_known_exactly_by_its_rows_and_by_its_ellipsoid(seed, outputs, inputs):
    """dy = W du: the gain to y_a - y_b is ||w_a - w_b||, whatever way it is said."""
    W = random_matrix(seed, outputs, inputs)
    by_rows, by_ellipsoid = PairGains.of_decoder(1.0, W), PairGains.of_ellipsoid(W @ W.mT)
    for found in (by_rows, by_ellipsoid):
        for a in range(outputs):
            row = W[a].norm().item()
            assert row <= found.output_gains[a] <= row * (1 + 1e-12)
            for b in range(outputs):
                exact = (W[a] - W[b]).norm().item()
                assert exact <= found.matrix[a, b] <= exact * (1 + 1e-7) + 1e-6 * (a != b)


@given(seeds, st.integers(2, 5), sizes)
def test_rows_are_never_worse_than_the_whole_and_the_minimum_is_of_entries(seed, outputs, inputs):
    W = random_matrix(seed, outputs, inputs)
    norm = torch.linalg.matrix_norm(W, 2).item()
    rows, whole = PairGains.of_decoder(2.0, W), PairGains.of_gain(2 * norm, outputs)
    assert bool((rows.matrix <= whole.matrix * (1 + 1e-12)).all())
    both = rows.minimum(whole)
    assert torch.equal(both.matrix, torch.minimum(rows.matrix, whole.matrix))
    assert torch.equal(both.output_gains, torch.minimum(rows.output_gains, whole.output_gains))
    assert both.outputs == outputs


def test_two_opposite_outputs_attain_the_root_of_two():
    """y = (u_1, u_2) with gain 1: du = (1, -1) / sqrt(2) moves y_1 - y_2 by sqrt(2)."""
    found = PairGains.of_gain(1.0, 2)
    assert found.matrix[0, 1] == pytest.approx(math.sqrt(2))
    assert found.matrix[0, 1] >= math.sqrt(2)
    assert found.output_gains.tolist() == [1.0, 1.0]


def test_equal_rows_never_change_their_order_though_their_ellipsoid_is_rounded():
    W = torch.tensor([[0.1, 0.7, 3e5], [0.1, 0.7, 3e5]], dtype=torch.float64)
    assert PairGains.of_decoder(5.0, W).matrix.tolist() == [[0, 0], [0, 0]]
    assert 0 < PairGains.of_ellipsoid(W @ W.mT).matrix[0, 1] < 3e5 * 1e-7


@pytest.mark.parametrize(
    ("matrix", "single"),
    [
        ([[0, 1], [2, 0]], [1, 1]),
        ([[1, 1], [1, 0]], [1, 1]),
        ([[0, -1], [-1, 0]], [1, 1]),
        ([[0, math.inf], [math.inf, 0]], [1, 1]),
        ([[0, 1], [1, 0]], [1, math.nan]),
    ],
)
def test_what_is_no_table_of_gains_is_refused(matrix, single):
    values = [torch.tensor(x, dtype=torch.float64) for x in (matrix, single)]
    with pytest.raises(ValueError, match="gains"):
        PairGains(*values)
