"""The sum of Hankel singular values: its value, its gradient, and what training makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ssmbench.analysis import hankel_sum as module
from ssmbench.analysis.hankel import hankel_singular_values
from ssmbench.analysis.hankel_sum import hankel_sum, hankel_values
from ssmbench.systems import DiscreteDense
from ssmbench.testing.reducers import example_lti_systems

SYSTEMS = {name: system.detach().double() for name, system in example_lti_systems().items()}


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_sum_is_that_of_the_values(name):
    values = hankel_singular_values(SYSTEMS[name])
    assert torch.allclose(hankel_sum(SYSTEMS[name]), values.sum(-1), rtol=1e-12)
    fast = hankel_values(SYSTEMS[name])
    assert torch.allclose(fast[:, : values.shape[1]], values, atol=1e-12 * float(values.max()))


def slopes(name: str) -> tuple[float, float]:
    """The derivative along a random direction: by the gradient, and by differences."""
    system = SYSTEMS[name]
    key = "A" if isinstance(system, DiscreteDense) else "lam"
    given = [getattr(system, k).clone().requires_grad_() for k in (key, "B", "C")]
    generator = torch.Generator().manual_seed(0)
    d = [torch.randn(x.shape, dtype=x.dtype, generator=generator) for x in given]

    def total(*tensors):
        return hankel_sum(replace(system, **dict(zip((key, "B", "C"), tensors, strict=True)))).sum()

    gradients = torch.autograd.grad(total(*given), given)
    along = sum((g.conj() * x).real.sum() for g, x in zip(gradients, d, strict=True))
    ends = [
        total(*(x.detach() + h * y for x, y in zip(given, d, strict=True))) for h in (5e-7, -5e-7)
    ]
    return float(along), float((ends[0] - ends[1]) / 1e-6)


@pytest.mark.parametrize("name", [n for n in SYSTEMS if n != "lags"])
def test_the_gradient_is_that_of_differences(name):
    found, expected = slopes(name)
    assert found == pytest.approx(expected, rel=1e-5)


def test_half_of_a_gradient_is_found_out(monkeypatch):
    honest = module._balancing

    def forgetful(L, M):
        value, right, left = honest(L, M)
        return value, 0 * right, left

    monkeypatch.setattr(module, "_balancing", forgetful)
    found, expected = slopes("dense")
    assert found != pytest.approx(expected, rel=1e-2)


def test_a_head_that_is_not_stable_counts_as_zero():
    bank = SYSTEMS["bank of pairs"]
    lam = bank.lam.clone()
    lam[0] = 1.5
    sums = hankel_sum(replace(bank, lam=lam))
    assert sums[0] == 0
    assert torch.allclose(sums[1:], hankel_sum(bank)[1:])
    assert hankel_sum(replace(bank, lam=1.5 + 0 * lam.requires_grad_())).sum().item() == 0
