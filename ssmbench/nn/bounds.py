"""Bounds on the gains of a network's parts, and whether its parameters are finite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssmbench.analysis.certificate import IDENTITY, Bound
from ssmbench.nn.linear import BoundedLinear
from ssmbench.transforms import checks_deferred

_NOT_FINITE = "a weight is not finite"


def reset_unless_defined(cls: type, base: type, changed: tuple[str, ...], name: str) -> None:
    """Give ``cls`` the attribute ``name`` of ``base`` if it redefines anything of ``changed`` but
    not this: what it would inherit describes another map."""
    own = vars(cls)
    if name not in own and any(key in own for key in changed):
        setattr(cls, name, getattr(base, name))


def is_finite(module: nn.Module) -> bool:
    """Whether every parameter is a finite number."""
    return all(bool(torch.isfinite(p).all()) for p in module.parameters())


def linear_bound(module: nn.Linear | nn.Identity) -> Bound:
    """A bound on the spectral norm of a linear map's weight: the norm in double precision, or what
    a bounded map has for all weights (:meth:`BoundedLinear.largest_norm`), which is not measured,
    so that no device is waited for where checks are deferred."""
    if isinstance(module, nn.Identity):
        return IDENTITY
    if not isinstance(module, BoundedLinear):
        return weight_bound(module.weight)
    if type(module).effective_weight is not BoundedLinear.effective_weight:
        return weight_bound(module.effective_weight())
    if not checks_deferred() and not torch.isfinite(module.weight).all():
        return Bound.none(_NOT_FINITE)
    return Bound(module.largest_norm())


def weight_bound(weight: Float[Tensor, "out in"]) -> Bound:
    """Spectral norm of a matrix, in double precision."""
    if not torch.isfinite(weight).all():  # the decomposition would fail
        return Bound.none(_NOT_FINITE)
    return Bound(torch.linalg.matrix_norm(weight.detach().double(), 2).item())


@runtime_checkable
class _Part(Protocol):
    """A part of a network that states a bound, and whether it maps zero to zero."""

    maps_zero_to_zero: bool

    def bound(self) -> Bound: ...


def zero_state_bound(part: _Part) -> Bound:
    """A bound on ``||f(x)|| / ||x||`` of a part: its Lipschitz constant, if it maps zero to zero
    for all parameter values."""
    return part.bound() if part.maps_zero_to_zero else offset_of(part)


def zero_state_linear_bound(module: nn.Linear | nn.Identity) -> Bound:
    """As :func:`linear_bound`, of ``||W x + b|| / ||x||``: none if there is a bias."""
    biased = isinstance(module, nn.Linear) and module.bias is not None
    return offset_of(module) if biased else linear_bound(module)


def offset_of(part: object) -> Bound:
    """No zero-state bound, because the part adds an offset to the signal."""
    name = type(part).__name__
    return Bound.none(f"{name} may not map zero to zero, so that it has no zero-state gain")


def total_gain(gains: Sequence[float | None]) -> float | None:
    """A gain of the sum of maps with these gains; None if one is unknown."""
    known = [gain for gain in gains if gain is not None]
    return sum(known) if len(known) == len(gains) else None


def layer_bound(gain: float) -> Bound:
    """The gain of SSM layers as a bound; none if it is not finite."""
    return Bound(gain) if math.isfinite(gain) else Bound.none("an SSM layer is unstable")
