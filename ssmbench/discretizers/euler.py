"""Euler's explicit rule, to show what instability looks like."""

from __future__ import annotations

from ssmbench.discretizers.base import Discretizer, Facts, scaled_matrices, scaled_modes
from ssmbench.registry import discretizers
from ssmbench.systems import ContinuousDense, ContinuousDiagonal, DiscreteDense, DiscreteDiagonal


@discretizers.register(
    "forward_euler", citation="Hairer, Norsett, Wanner 1993, Solving ODEs I, section I.7"
)
class ForwardEuler(Discretizer):
    """Explicit Euler: A_bar = I + hA, B_bar = hB; unstable where abs(1 + h lam) > 1."""

    facts = Facts(
        order=1,
        a_stable=False,
        l_stable=False,
        preserves_gain=False,
        real_interval=2.0,
        note="no undamped oscillation is stable at any step size",
    )

    def diagonal(self, system: ContinuousDiagonal) -> DiscreteDiagonal:
        z, hB = scaled_modes(system)
        return DiscreteDiagonal(lam=1 + z, B=hB, C=system.C, D=system.D, conjugate=system.conjugate)

    def dense(self, system: ContinuousDense) -> DiscreteDense:
        hA, hB, eye = scaled_matrices(system)
        return DiscreteDense(A=eye + hA, B=hB, C=system.C, D=system.D)
