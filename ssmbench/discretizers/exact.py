"""Exact discretization of systems whose input is a known function between samples."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Inexact
from torch import Tensor

from ssmbench.discretizers.base import Discretizer, scaled_matrices, scaled_modes, with_ramp
from ssmbench.discretizers.matrix_phi import matrix_phi
from ssmbench.registry import discretizers
from ssmbench.systems import (
    ContinuousDense,
    ContinuousDiagonal,
    DiscreteDense,
    DiscreteDiagonal,
    ElementwiseRule,
    Rule,
)

_SERIES_RADIUS = 0.5
_SERIES_TERMS = 16  # 0.5^16 / 17! is far below float64's rounding


@discretizers.register(
    "zoh",
    citation="Franklin, Powell, Workman 1998, Digital Control of Dynamic Systems, section 4.3",
)
class ZeroOrderHold(Discretizer):
    """Exact for an input held over each step: A_bar = e^(hA), B_bar = h phi_1(hA) B."""

    note = "poles exact; the hold attenuates resonances near the Nyquist frequency"

    def increment(self, z: Inexact[Tensor, "*shape"]) -> Inexact[Tensor, "*shape"]:
        return torch.expm1(z)

    def diagonal(self, system: ContinuousDiagonal) -> DiscreteDiagonal:
        z, hB = scaled_modes(system)
        return DiscreteDiagonal(
            lam=torch.exp(z),
            B=phi_1(z)[..., None] * hB,
            C=system.C,
            D=system.D,
            conjugate=system.conjugate,
        )

    def elementwise(self) -> ElementwiseRule | None:
        return ElementwiseRule(Rule.exponential)

    def dense(self, system: ContinuousDense) -> DiscreteDense:
        A_bar, B_bar = _held(system, 1)
        return DiscreteDense(A=A_bar, B=B_bar, C=system.C, D=system.D)


@discretizers.register(
    "foh",
    citation="Franklin, Powell, Workman 1998, Digital Control of Dynamic Systems, section 6.3.2",
)
class FirstOrderHold(Discretizer):
    """Exact for an input that is a straight line between samples (the triangle hold).

    ``x[k+1] = A_bar x[k] + B0 u[k] + B1 u[k+1]`` with B1 = h phi_2(hA) B and
    B0 = h (phi_1 - phi_2)(hA) B, in causal form.
    """

    note = "poles exact; the hold attenuates resonances near the Nyquist frequency"

    def increment(self, z: Inexact[Tensor, "*shape"]) -> Inexact[Tensor, "*shape"]:
        return torch.expm1(z)

    def diagonal(self, system: ContinuousDiagonal) -> DiscreteDiagonal:
        z, hB = scaled_modes(system)
        B1 = phi_2(z)[..., None] * hB
        held = DiscreteDiagonal(
            lam=torch.exp(z),
            B=phi_1(z)[..., None] * hB - B1,
            C=system.C,
            D=system.D,
            conjugate=system.conjugate,
        )
        return with_ramp(held, B1)

    def dense(self, system: ContinuousDense) -> DiscreteDense:
        A_bar, B, B1 = _held(system, 2)
        return with_ramp(DiscreteDense(A=A_bar, B=B - B1, C=system.C, D=system.D), B1)


def _held(system: ContinuousDense, order: int) -> tuple[Tensor, ...]:
    """e^(hA) (H, N, N), then h phi_k(hA) B (H, N, m) for k up to ``order``.

    From A alone: in the exponential of a joint matrix of A and B (Van Loan 1978, IEEE Trans. Autom.
    Control 23:395), a large B costs e^(hA) its digits.
    """
    hA, hB, eye = scaled_matrices(system)
    loss, *phis = matrix_phi(hA, order)
    hB = hB.to(torch.promote_types(hA.dtype, hB.dtype))
    return eye + loss, *(phi.to(hB.dtype) @ hB for phi in phis)


def phi_1(z: Inexact[Tensor, "*shape"]) -> Inexact[Tensor, "*shape"]:
    """(e^z - 1) / z elementwise, by its series near zero, where the quotient loses all digits."""
    return _phi(1, z, lambda away: (torch.exp(away) - 1) / away)


def phi_2(z: Inexact[Tensor, "*shape"]) -> Inexact[Tensor, "*shape"]:
    """(e^z - 1 - z) / z^2 elementwise, by its series near zero."""
    return _phi(2, z, lambda away: ((torch.exp(away) - 1) / away - 1) / away)


def _phi(k: int, z: Tensor, quotient: Callable[[Tensor], Tensor]) -> Tensor:
    """``sum_n z^n / (n + k)!`` where z is small, elsewhere the quotient."""
    near = z.abs() < _SERIES_RADIUS
    small = torch.where(near, z, 0)
    series = torch.ones_like(z)
    for n in range(_SERIES_TERMS, 0, -1):  # Horner: 1 + z/(k+1) (1 + z/(k+2) (1 + ...))
        series = 1 + small / (k + n) * series
    away = torch.where(near, 1, z)  # keeps the unused branch's gradient finite
    return torch.where(near, series / math.factorial(k), quotient(away))
