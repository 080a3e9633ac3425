"""The conformance kit's part for nonlinearities: the declared Lipschitz constant."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.registry import Entry


def conform_nonlinearity(entry: Entry[Nonlinearity]) -> None:
    """Shape, and the declared Lipschitz constant: no slope found exceeds it."""
    module = entry.build(d_model=4).double()
    x = torch.randn(3, 5, 4, dtype=torch.float64)
    assert module(x).shape == x.shape, f"{entry.name}: changes the signal's shape"
    bound = module.bound()
    if not bound.finite:
        assert bound.reason, f"{entry.name}: no Lipschitz constant, and no reason why"
        return
    slope = _largest_slope(module)
    assert slope <= bound.value * (1 + 1e-9), (
        f"{entry.name}: declares {bound.value}, but a slope of {slope} was found"
    )


def _largest_slope(module: Callable[[Tensor], Tensor]) -> float:
    grid = torch.linspace(-6, 6, 24_001, dtype=torch.float64)[:, None]
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(1, 4, generator=generator, dtype=torch.float64)
    points = torch.cat([grid * torch.ones(1, 4), grid * direction]).requires_grad_()
    steps = torch.eye(4, dtype=torch.float64)[0] * 1e-6
    change = module((points + steps)[None]) - module((points - steps)[None])
    return (change.norm(dim=-1) / 2e-6).max().item()
