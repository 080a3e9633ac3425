"""Exact discretization of systems whose input is a known function between samples."""

from __future__ import annotations

import math

import torch
from jaxtyping import Inexact
from torch import Tensor

from ssmbench.discretizers.base import Discretizer, Facts, scaled_matrices, scaled_modes
from ssmbench.registry import discretizers
from ssmbench.systems import ContinuousDense, ContinuousDiagonal, DiscreteDense, DiscreteDiagonal

_SERIES_RADIUS = 0.5
_SERIES_TERMS = 16  # 0.5^16 / 17! is far below float64's rounding


@discretizers.register(
    "zoh",
    citation="Franklin, Powell, Workman 1998, Digital Control of Dynamic Systems, section 4.3",
)
class ZeroOrderHold(Discretizer):
    """Exact for an input held over each step: A_bar = e^(hA), B_bar = h phi_1(hA) B."""

    facts = Facts(
        order=math.inf,
        a_stable=True,
        l_stable=True,
        preserves_gain=False,
        real_interval=math.inf,
        note="poles exact; the hold attenuates resonances near the Nyquist frequency",
    )

    def diagonal(self, system: ContinuousDiagonal) -> DiscreteDiagonal:
        z, hB = scaled_modes(system)
        return DiscreteDiagonal(
            lam=torch.exp(z),
            B=phi_1(z)[..., None] * hB,
            C=system.C,
            D=system.D,
            conjugate=system.conjugate,
        )

    def dense(self, system: ContinuousDense) -> DiscreteDense:
        hA, hB, _ = scaled_matrices(system)
        # exp of [[hA, hB], [0, 0]] is [[e^(hA), h phi_1(hA) B], [0, I]]: no division by A
        # (Van Loan 1978, IEEE Trans. Autom. Control 23:395).
        dtype = torch.promote_types(hA.dtype, hB.dtype)
        top = torch.cat([hA.to(dtype), hB.to(dtype)], -1)
        joint = torch.nn.functional.pad(top, (0, 0, 0, system.inputs))
        exponential = torch.linalg.matrix_exp(joint)[:, : system.states]
        A_bar, B_bar = exponential.split([system.states, system.inputs], -1)
        return DiscreteDense(A=A_bar, B=B_bar, C=system.C, D=system.D)


def phi_1(z: Inexact[Tensor, "*shape"]) -> Inexact[Tensor, "*shape"]:
    """(e^z - 1) / z elementwise, by its series near zero, where the quotient loses all digits."""
    near = z.abs() < _SERIES_RADIUS
    small = torch.where(near, z, 0)
    series = torch.ones_like(z)
    for k in range(_SERIES_TERMS, 0, -1):  # Horner: 1 + z/2 (1 + z/3 (1 + ...))
        series = 1 + small / (k + 1) * series
    away = torch.where(near, 1, z)  # keeps the unused branch's gradient finite
    return torch.where(near, series, (torch.exp(away) - 1) / away)
