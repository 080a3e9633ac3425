"""The kernels of selective systems at the ends of the range of floating-point numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ssmbench.scans import native
from ssmbench.scans.selective import Form, selective_layer
from ssmbench.systems import ElementwiseRule, Rule
from tests.scans.test_selective import compiled


def final_state(lam: float, dt: float, layer, dtype: torch.dtype = torch.float32) -> float:
    """Of one mode after one step of the zero-order hold from zero, driven by 1."""
    one = torch.ones(1, 1, 1, dtype=dtype)
    rate, step, row = (torch.full((1,) * k, x, dtype=dtype) for k, x in ((2, lam), (3, dt), (4, 1)))
    form = Form(ElementwiseRule(Rule.exponential))
    return layer(one, step, rate, row, row, one[0, 0], None, form)[1].item()


@compiled
@pytest.mark.parametrize("lam", [0.0, -0.0, 1e-30, -1e-30])
def test_an_integrator_integrates_where_denormals_are_flushed(lam):
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormals")
    try:
        assert final_state(lam, 1e-3, native.selective_layer) == pytest.approx(1e-3, rel=1e-6)
    finally:
        torch.set_flush_denormal(False)


@compiled
@pytest.mark.parametrize(
    ("dtype", "z"),
    [(torch.float32, z) for z in (88.3, 88.4, 88.7)]
    + [(torch.float64, z) for z in (709.4, 709.5, 709.75)],
)
def test_the_exponential_is_finite_up_to_the_largest_number(dtype, z):
    found, expected = (final_state(z, 1.0, f, dtype) for f in (native.selective_layer, by_expm1))
    assert found == pytest.approx(expected, rel=4 * torch.finfo(dtype).eps)


def by_expm1(u, dt, lam, *rest) -> tuple[Tensor, Tensor]:
    return u, torch.expm1(dt * lam) / lam


@compiled
@pytest.mark.parametrize("lam", [-1.0, 0.0, 1.0])
def test_an_infinite_step_is_not_hidden(lam):
    assert not math.isfinite(final_state(lam, math.inf, native.selective_layer))
    assert not math.isfinite(final_state(lam, math.inf, selective_layer))
