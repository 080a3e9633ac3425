"""What a discretizer is: a pure function from a continuous to a discrete system, with facts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Inexact
from torch import Tensor

from ssmbench.discretizers.facts import Facts, computed_facts
from ssmbench.registry import discretizers
from ssmbench.systems import (
    ContinuousDense,
    ContinuousDiagonal,
    ContinuousSystem,
    DiscreteDense,
    DiscreteDiagonal,
    DiscreteSystem,
)

__all__ = ["Discretizer", "Facts", "scaled_matrices", "scaled_modes", "with_ramp"]

Discrete = TypeVar("Discrete", DiscreteDiagonal, DiscreteDense)


class Discretizer(ABC):
    """Maps ``x' = A x + B u`` with step size dt to ``x[k+1] = A_bar x[k] + B_bar u[k]``.

    No method divides by A, so integrators (zero poles) are safe. Diagonal systems stay diagonal.
    """

    #: What figures do not say.
    note: ClassVar[str] = ""

    def __init__(self, config: Any):
        self.config = config

    def __call__(self, system: ContinuousSystem) -> DiscreteSystem:
        """The discrete system of the same structure, copies, inputs, outputs and precision.

        Diagonal systems are discretized in double precision and rounded by :func:`rounded`.
        """
        if isinstance(system, ContinuousDiagonal):
            return rounded(self.diagonal(system.double()), system.D.dtype)
        if isinstance(system, ContinuousDense):
            return self.dense(system)
        raise TypeError(f"no discretization for {type(system).__name__}")

    @abstractmethod
    def diagonal(self, system: ContinuousDiagonal) -> DiscreteDiagonal:
        """Elementwise in lam (H, N)."""

    @abstractmethod
    def dense(self, system: ContinuousDense) -> DiscreteDense:
        """By matrices A (H, N, N)."""

    @cached_property
    def facts(self) -> Facts:
        """Computed, for these options, when first asked for."""
        return computed_facts(self, self.stability_function, self.note)

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """The facts under default options as plain values."""
        return asdict(next(e for e in discretizers if e.factory is cls).build().facts)

    def stability_function(self, z: Inexact[Tensor, " Z"]) -> Inexact[Tensor, " Z"]:
        """R(z): what one step multiplies a mode with h lam = z by."""
        one = torch.ones(len(z), 1, 1, dtype=z.dtype)
        step = torch.ones(len(z), dtype=z.real.dtype)
        system = ContinuousDiagonal(lam=z[:, None], B=one, C=one, D=0 * one, dt=step)
        return self.diagonal(system).lam[:, 0]


def scaled_modes(system: ContinuousDiagonal) -> tuple[Tensor, Tensor]:
    """h lam (H, N) and h B (H, N, m)."""
    return system.dt[:, None] * system.lam, system.dt[:, None, None] * system.B


def scaled_matrices(system: ContinuousDense) -> tuple[Tensor, Tensor, Tensor]:
    """h A (H, N, N), h B (H, N, m) and the identity (N, N)."""
    h = system.dt[:, None, None]
    eye = torch.eye(system.states, dtype=system.A.dtype, device=system.A.device)
    return h * system.A, h * system.B, eye


#: Shrinks a stable pole that rounding to float32 would put onto the unit circle.
_INSIDE = 1 - 1.5e-7


def rounded(system: DiscreteDiagonal, precision: torch.dtype) -> DiscreteDiagonal:
    """The system in float32 and complex64 (or as it is), every mode with the gain that it had.

    Near the unit circle, rounding lam moves its distance to it, and with it the mode's gain: by 6%
    at 1 - |lam| = 1e-6. So B is scaled by (1 - |rounded|^2) / (1 - |lam|^2), a number near 1 that
    counts as constant in gradients. No stable pole is rounded onto the circle.
    """
    if precision == torch.float64:
        return system
    real, complex_ = torch.float32, torch.complex64
    lam = _inside(system.lam.detach(), complex_ if system.lam.is_complex() else real)
    loss, kept = (1 - x.abs().double().square() for x in (system.lam.detach(), lam))
    scale = torch.where(loss > 0, kept / loss, 1.0)
    scaled = replace(
        system, lam=system.lam + (lam - system.lam).detach(), B=system.B * scale[..., None]
    )
    return scaled.map(lambda t: t.to(complex_ if t.is_complex() else real))


def _inside(lam: Tensor, single: torch.dtype) -> Tensor:
    """lam rounded to single precision, in double."""
    near, safe = (x.to(single).to(lam.dtype) for x in (lam, lam * _INSIDE))
    return torch.where((lam.abs() < 1) & (near.abs() >= 1), safe, near)


def with_ramp(held: Discrete, B1: Inexact[Tensor, "H N m"]) -> Discrete:
    """The causal form of ``x[k+1] = A x[k] + B u[k] + B1 u[k+1]`` with the same outputs.

    With x~ = x - B1 u: ``B~ = B + A B1``, ``D~ = D + C B1`` (Franklin, Powell, Workman 1998,
    section 6.3.2).
    """
    dtype = torch.promote_types(held.C.dtype, B1.dtype)
    direct = held.C.to(dtype) @ B1.to(dtype)
    if isinstance(held, DiscreteDiagonal):
        shift = held.lam[..., None] * B1
        direct = 2 * direct.real if held.conjugate else direct
    else:
        shift = held.A @ B1
    return replace(held, B=held.B + shift, D=held.D + direct)
