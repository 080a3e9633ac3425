"""What a discretizer is: a pure function from a continuous to a discrete system, with facts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Inexact
from torch import Tensor

from ssmbench.registry import NoOptions
from ssmbench.systems import (
    ContinuousDense,
    ContinuousDiagonal,
    ContinuousSystem,
    DiscreteDense,
    DiscreteDiagonal,
    DiscreteSystem,
)


@dataclass(frozen=True)
class Facts:
    """What a discretizer promises; every one is tested against measurement.

    ``order`` is that of the stability function: ``R(z) = e^z + O(z^(order+1))``; infinite where the
    poles are exact. ``real_interval`` is the largest r for which R is stable on [-r, 0].
    """

    order: int | float
    a_stable: bool
    l_stable: bool
    preserves_gain: bool
    real_interval: int | float
    note: str = ""


class Discretizer(ABC):
    """Maps ``x' = A x + B u`` with step size dt to ``x[k+1] = A_bar x[k] + B_bar u[k]``.

    No method divides by A, so integrators (zero poles) are safe. Diagonal systems stay diagonal.
    """

    facts: ClassVar[Facts]

    def __init__(self, config: NoOptions):
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

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """The facts as plain values."""
        return asdict(cls.facts)

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
