"""The conformance kit's part for normalisers: the gain they promise, and its gradient."""

from __future__ import annotations

from typing import Any

import torch

from ssmbench.analysis.certificate import TOLERANCE
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.normalisers.base import Normaliser
from ssmbench.registry import Entry
from ssmbench.systems import DiscreteSystem
from ssmbench.testing.scans import example_systems


def conform_normaliser(entry: Entry[Normaliser]) -> None:
    """The gain it promises, on systems of every structure, and its gradient."""
    for system in example_systems():
        if system.D.is_complex():
            continue
        for gamma in (0.1, 7.0):
            normaliser = entry.build(_with_gamma(entry.config, gamma))
            found = normaliser(system)
            assert type(found) is type(system), f"{entry.name}: changes the type of a system"
            assert found.D.dtype == system.D.dtype, f"{entry.name}: changes the precision"
            _check_normalised(normaliser, found, entry.name)
        _check_normaliser_gradient(entry.build(), system, entry.name)


def _with_gamma(config: type, gamma: float) -> Any:
    options = config()
    options.gamma = gamma
    return options


def _check_normalised(normaliser: Normaliser, system: DiscreteSystem, name: str) -> None:
    if not normaliser.infinite_horizon:
        return
    for norm in hinf_norm(system.double()).norm.tolist():
        assert norm <= normaliser.gamma * (1 + TOLERANCE), (
            f"{name}: promises a gain of {normaliser.gamma:g}, but it is {norm:g}"
        )
        assert norm >= normaliser.gamma / 2, f"{name}: wastes half of the gain: {norm:g}"


def _check_normaliser_gradient(normaliser: Normaliser, system: DiscreteSystem, name: str) -> None:
    """Scaling C and D together must change nothing, so the gradient along them is zero."""
    system = system.double().map(lambda t: t.detach().requires_grad_())
    energy = sum(t.abs().square().sum() for t in (normaliser(system).C, normaliser(system).D))
    C, D = torch.autograd.grad(energy, (system.C, system.D))
    along = (C.conj() * system.C).real.sum() + (D.conj() * system.D).real.sum()
    size = energy.detach().item()
    assert abs(along.item()) <= 1e-2 * size, f"{name}: its gradient is wrong: {along.item():g}"
