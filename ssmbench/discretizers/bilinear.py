"""Two methods that the literature both calls "bilinear"; only one is Tustin's.

Both have A_bar = (I - hA/2)^-1 (I + hA/2). S4 (Gu, Goel, Re 2022, equation 3) keeps C and D: that
is the implicit midpoint rule for a held input, and inflates the gain by 1 / cos(theta/2) at the
frequency theta (radians per sample). Tustin's transform also changes C and D, so that
G_bar(z) = G((2/h) (z - 1) / (z + 1)): the H-infinity norm is the same number.
"""

from __future__ import annotations

import math

import torch

from ssmbench.discretizers.base import Discretizer, Facts, scaled_matrices, scaled_modes
from ssmbench.registry import discretizers
from ssmbench.systems import ContinuousDense, ContinuousDiagonal, DiscreteDense, DiscreteDiagonal


@discretizers.register(
    "tustin",
    citation="Tustin 1947, J. IEE 94(IIA):130; Al-Saggaf and Franklin 1988, IEEE TAC 33:817",
)
class Tustin(Discretizer):
    """Tustin's transform s = (2/h) (z - 1) / (z + 1): preserves the H-infinity norm exactly."""

    facts = Facts(
        order=2, a_stable=True, l_stable=False, preserves_gain=True, real_interval=math.inf
    )

    def diagonal(self, system: ContinuousDiagonal) -> DiscreteDiagonal:
        z, hB = scaled_modes(system)
        M = 1 / (1 - z / 2)
        B_bar, C_bar = M[..., None] * hB, system.C * M[:, None]
        direct = system.C.to(B_bar.dtype) @ B_bar / 2
        if system.conjugate:
            direct = 2 * direct.real
        return DiscreteDiagonal(
            lam=M * (1 + z / 2),
            B=B_bar,
            C=C_bar,
            D=system.D + direct,
            conjugate=system.conjugate,
        )

    def dense(self, system: ContinuousDense) -> DiscreteDense:
        hA, hB, eye = scaled_matrices(system)
        M = torch.linalg.inv(eye - hA / 2)
        B_bar = M @ hB
        return DiscreteDense(
            A=M @ (eye + hA / 2), B=B_bar, C=system.C @ M, D=system.D + system.C @ B_bar / 2
        )


@discretizers.register(
    "bilinear",
    citation="Gu, Goel, Re 2022, Efficiently Modeling Long Sequences with Structured State "
    "Spaces, equation 3; as a rule: Hairer, Lubich, Wanner 2006, section II.1.1",
)
class ImplicitMidpoint(Discretizer):
    """S4's bilinear: the implicit midpoint rule with held input; C and D are kept."""

    facts = Facts(
        order=2,
        a_stable=True,
        l_stable=False,
        preserves_gain=False,
        real_interval=math.inf,
        note="gain is inflated by 1 / cos(theta/2) at theta radians per sample; not Tustin",
    )

    def diagonal(self, system: ContinuousDiagonal) -> DiscreteDiagonal:
        z, hB = scaled_modes(system)
        M = 1 / (1 - z / 2)
        return DiscreteDiagonal(
            lam=M * (1 + z / 2),
            B=M[..., None] * hB,
            C=system.C,
            D=system.D,
            conjugate=system.conjugate,
        )

    def dense(self, system: ContinuousDense) -> DiscreteDense:
        hA, hB, eye = scaled_matrices(system)
        lhs = eye - hA / 2
        return DiscreteDense(
            A=torch.linalg.solve(lhs, eye + hA / 2),
            B=torch.linalg.solve(lhs, hB.to(lhs.dtype)),
            C=system.C,
            D=system.D,
        )
