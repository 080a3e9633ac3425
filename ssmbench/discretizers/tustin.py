"""Tustin's transform.

Two methods are called "bilinear" in the literature. S4's (Gu, Goel, Re 2022, equation 3) keeps C
and D: it is the implicit midpoint rule, in ``butcher_tableaux``, and inflates the gain by
1 / cos(theta/2) at the frequency theta (radians per sample). Tustin's transform also changes C and
D, so that G_bar(z) = G((2/h) (z - 1) / (z + 1)), which has the same H-infinity norm.
"""

from __future__ import annotations

from jaxtyping import Inexact
from torch import Tensor

from ssmbench.discretizers.base import Discretizer, scaled_matrices, scaled_modes
from ssmbench.linalg.factorizations import inverse
from ssmbench.registry import discretizers
from ssmbench.systems import (
    ContinuousDense,
    ContinuousDiagonal,
    DiscreteDense,
    DiscreteDiagonal,
    ElementwiseRule,
    Rule,
)


@discretizers.register(
    "tustin",
    citation="Tustin 1947, J. IEE 94(IIA):130; Al-Saggaf and Franklin 1988, IEEE TAC 33:817",
)
class Tustin(Discretizer):
    """Tustin's transform s = (2/h) (z - 1) / (z + 1): preserves the H-infinity norm exactly."""

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

    def elementwise(self) -> ElementwiseRule | None:
        return ElementwiseRule(Rule.tustin)

    def dense(self, system: ContinuousDense) -> DiscreteDense:
        hA, hB, eye = scaled_matrices(system)
        M = inverse(eye - hA / 2)
        B_bar = M @ hB
        return DiscreteDense(
            A=2 * M - eye, B=B_bar, C=system.C @ M, D=system.D + system.C @ B_bar / 2
        )

    def increment(self, z: Inexact[Tensor, "*shape"]) -> Inexact[Tensor, "*shape"]:
        return z / (1 - z / 2)
