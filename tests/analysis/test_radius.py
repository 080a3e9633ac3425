"""Certified radii of given logits, where the largest change that a gain allows is known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssmbench.analysis.pair_gains import PairGains
from ssmbench.analysis.radius import certified_radii, nearest_neighbour_radii


def exact(logits: list[list[float]], pairs: PairGains, error: float = 0.0) -> list[float]:
    z = torch.tensor(logits, dtype=torch.float64)
    return certified_radii(z, pairs, torch.full((len(z),), error, dtype=torch.float64)).tolist()


def test_the_radius_is_the_smallest_margin_over_its_pairs_gain():
    """Class 1 is next, but class 2 is moved four times as fast."""
    matrix = torch.tensor([[0.0, 1.0, 4.0], [1.0, 0.0, 2.0], [4.0, 2.0, 0.0]], dtype=torch.float64)
    pairs = PairGains(matrix, torch.ones(3, dtype=torch.float64))
    assert exact([[5.0, 4.0, 2.0]], pairs) == pytest.approx([3 / 4])
    assert exact([[5.0, 4.0, 2.0]], pairs, 0.1) == pytest.approx([2.8 / 4])
    assert exact([[4.0, 5.0, 3.0]], pairs) == pytest.approx([1.0])


@given(st.integers(0, 2**31), st.integers(2, 5), st.integers(1, 6))
def test_a_linear_classifier_attains_its_radius(seed, classes, inputs):
    """z = W u: the nearest point of a decision boundary is as far away as the certificate says,
    and no nearer. A radius that is larger by sqrt(2), as from a forgotten factor, is caught."""
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn(classes, inputs, generator=generator, dtype=torch.float64)
    u = torch.randn(inputs, generator=generator, dtype=torch.float64)
    z = W @ u
    radius = certified_radii(z[None], PairGains.of_decoder(1.0, W), torch.zeros(1).double()).item()
    a, inside = int(z.argmax()), True
    for b in set(range(classes)) - {a}:
        towards = W[b] - W[a]
        away = towards / towards.norm().clamp_min(1e-300)
        inside &= bool((W @ (u + 0.999999 * radius * away)).argmax() == a)
        crossed = W @ (u + 1.000001 * radius * away)
        if (z[a] - z[b]) / towards.norm() <= radius * (1 + 1e-9):
            assert crossed[b] > crossed[a] or radius < 1e-9
            lie = W @ (u + 0.9 * math.sqrt(2) * radius * away)
            assert lie[b] > lie[a] or radius < 1e-9
    assert inside


def test_what_is_within_its_error_or_no_number_has_no_radius():
    pairs = PairGains.of_gain(1.0, 2)
    assert exact([[1.0, 0.9]], pairs, 0.05) == [0.0]
    assert exact([[1.0, 1.0], [math.nan, 0.0], [math.inf, 0.0]], pairs) == [0.0, 0.0, 0.0]


def test_logits_that_never_change_against_each_other_are_certified_everywhere():
    still = PairGains.of_gain(0.0, 2)
    assert exact([[1.0, 0.0], [1.0, 1.0]], still) == [math.inf, 0.0]
    assert exact([[3.0]], PairGains.of_gain(1.0, 1)) == [math.inf]


def test_a_neighbour_is_certified_up_to_half_the_difference_of_the_distances():
    same, other = torch.tensor([[1.0, 2.0], [4.0, 2.0]], dtype=torch.float64)
    assert nearest_neighbour_radii(same, other).tolist() == pytest.approx([1.5, 0.0])
