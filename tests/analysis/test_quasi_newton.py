"""Batched L-BFGS against scipy's operator and the secant equation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import LbfgsInvHessProduct

from ssmbench.analysis.quasi_newton import BatchedLBFGS

ROWS, VARIABLES = 3, 6


def pairs(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Steps and falls (number, rows, variables) of concave quadratics; the last pair is equal, so
    that the first estimate is the identity, as scipy's is."""
    generator = torch.Generator().manual_seed(number)
    kind = {"generator": generator, "dtype": torch.float64}
    root = torch.randn(ROWS, VARIABLES, VARIABLES, **kind)
    hessian = root @ root.mT + torch.eye(VARIABLES, dtype=torch.float64)
    steps = torch.randn(number, ROWS, VARIABLES, **kind)
    falls = (hessian @ steps[..., None])[..., 0]
    falls[-1] = steps[-1]
    return steps, falls


def learned(steps, falls, memory: int) -> BatchedLBFGS:
    estimate = BatchedLBFGS(torch.ones(ROWS, dtype=torch.float64), VARIABLES, memory)
    for step, fall in zip(steps, falls, strict=True):
        estimate.note(step, fall)
    return estimate


@pytest.mark.parametrize(("number", "memory"), [(1, 4), (3, 4), (4, 4), (7, 4)])
def test_direction_is_that_of_scipy(number, memory):
    steps, falls = pairs(number)
    gradient = torch.randn(ROWS, VARIABLES, generator=torch.Generator().manual_seed(9)).double()
    found = learned(steps, falls, memory).direction(gradient)
    for row in range(ROWS):
        kept = [t[-memory:, row].numpy() for t in (steps, falls)]
        expected = LbfgsInvHessProduct(*kept).matvec(gradient[row].numpy())
        assert np.allclose(found[row].numpy(), expected, rtol=1e-10)


def test_a_pair_that_is_not_concave_is_left_out_of_its_row_alone():
    steps, falls = pairs(3)
    spoilt = falls.clone()
    spoilt[1, 0] = -falls[1, 0]
    gradient = torch.ones(ROWS, VARIABLES, dtype=torch.float64)
    found = learned(steps, spoilt, 5).direction(gradient)
    whole = learned(steps, falls, 5).direction(gradient)
    without = learned(steps[[0, 2]], falls[[0, 2]], 5).direction(gradient)
    assert torch.allclose(found[1:], whole[1:])
    assert torch.allclose(found[0], without[0])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_lost_are_not_learnt(value):
    steps, falls = pairs(2)
    estimate = learned(steps, falls, 5)
    before = estimate.direction(torch.ones_like(steps[0]))
    estimate.note(steps[0], torch.full_like(falls[0], value))
    assert torch.allclose(estimate.direction(torch.ones_like(steps[0])), before)


def test_rows_that_are_kept_go_on_as_before():
    steps, falls = pairs(3)
    estimate = learned(steps, falls, 5)
    whole = estimate.direction(torch.ones_like(steps[0]))
    estimate.keep(torch.tensor([2, 0]))
    found = estimate.direction(torch.ones(2, VARIABLES, dtype=torch.float64))
    assert torch.allclose(found, whole[[2, 0]])
