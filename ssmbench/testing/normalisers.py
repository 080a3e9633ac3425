"""Conformance checks of normalisers: the declared gain and the gradient."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch

from ssmbench.analysis.certificate import TOLERANCE
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.nn.contracts import check_built
from ssmbench.nn.system_contracts import check_normalised
from ssmbench.normalisers.base import Normaliser
from ssmbench.systems import DiscreteSystem
from ssmbench.testing.modules import total
from ssmbench.testing.report import Subject, skip_unless
from ssmbench.testing.scans import example_systems


def builds(subject: Subject) -> None:
    """It can be built."""
    check_built(subject.entry, subject.build(), Normaliser)


def keeps_type_sizes_and_precision(subject: Subject) -> None:
    """The normalised system has the type, the sizes and the dtypes of the given one."""
    normaliser = subject.build()
    for system in _systems():
        check_normalised(normaliser, system, normaliser(system))


def gain_as_declared(subject: Subject) -> None:
    """The H-infinity norm is at most gamma, where ``infinite_horizon`` is declared."""
    for normaliser, norms in _normalised(subject):
        for norm in norms:
            assert norm <= normaliser.gamma * (1 + TOLERANCE), (
                f"declares a gain of {normaliser.gamma:g}, but the H-infinity norm is {norm:g}"
            )


def gain_is_used(subject: Subject) -> None:
    """The H-infinity norm is at least half of gamma: a bound far below gamma limits the network."""
    for normaliser, norms in _normalised(subject):
        for norm in norms:
            assert norm >= normaliser.gamma / 2, (
                f"the H-infinity norm is {norm:g}, less than half of gamma = {normaliser.gamma:g}"
            )


def gradient_includes_the_scale_factor(subject: Subject) -> None:
    """Scaling C and D together does not change the normalised system, so the derivative in that
    direction is zero. It is not if the scale factor is treated as a constant.
    """
    for system in _systems():
        _check_gradient(subject.build(), system)


CHECKS = (
    builds,
    keeps_type_sizes_and_precision,
    gain_as_declared,
    gain_is_used,
    gradient_includes_the_scale_factor,
)


def _systems() -> list[DiscreteSystem]:
    return [system for system in example_systems() if not system.D.is_complex()]


def _normalised(subject: Subject) -> Iterator[tuple[Normaliser, list[float]]]:
    """Normalisers with a small and a large gamma, and the H-infinity norms of a system that each
    scaled.
    """
    for system in _systems():
        for gamma in (0.1, 7.0):
            normaliser = subject.build(_with_gamma(subject.options, gamma))
            skip_unless(normaliser.infinite_horizon, "declares no gain over an infinite horizon")
            yield normaliser, hinf_norm(normaliser(system).double()).norm.tolist()


def _with_gamma(options: Any, gamma: float) -> Any:
    changed = copy.copy(options)
    changed.gamma = gamma
    return changed


def _check_gradient(normaliser: Normaliser, system: DiscreteSystem) -> None:
    system = system.double().map(lambda t: t.detach().requires_grad_())
    energy = total(t.abs().square().sum() for t in (normaliser(system).C, normaliser(system).D))
    C, D = torch.autograd.grad(energy, (system.C, system.D))
    along = (C.conj() * system.C).real.sum() + (D.conj() * system.D).real.sum()
    size = energy.detach().item()
    assert abs(along.item()) <= 1e-2 * size, (
        f"the derivative along a common scale of C and D is {along.item():g} instead of 0"
    )
