"""One routine that turns any Runge-Kutta tableau into a discretizer of diagonal and dense systems.

For x' = A x + B u the stages are linear: with ``q(z)' = b' (I - z T)^-1`` and the stability
function ``R(z) = 1 + z q(z)' 1``, an input held over the step gives ``A_bar = R(hA)`` and
``B_bar = h (sum_j q_j(hA)) B``. Nothing divides by A.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Inexact
from torch import Tensor

from ssmbench.discretizers.base import Discretizer, scaled_matrices, scaled_modes, with_ramp
from ssmbench.discretizers.tableau import Tableau
from ssmbench.linalg.factorizations import solve
from ssmbench.systems import (
    ContinuousDense,
    ContinuousDiagonal,
    DiscreteDense,
    DiscreteDiagonal,
    ElementwiseRule,
    Rule,
)


class Hold(Enum):
    """The input between samples: held constant (zero order), or a straight line (first order)."""

    zero = "zero"
    first = "first"


@dataclass
class RungeKuttaConfig:
    """``hold``: which input the stages see between two samples."""

    hold: Hold = Hold.zero


class RungeKutta(Discretizer):
    """A discretizer from a tableau, which a subclass names or computes from its options."""

    data: ClassVar[Tableau]

    def __init__(self, config: RungeKuttaConfig):
        super().__init__(config)
        self.tableau = self.make_tableau(config)

    def make_tableau(self, config: RungeKuttaConfig) -> Tableau:
        """The tableau for these options; by default, the class's."""
        return self.data

    def diagonal(self, system: ContinuousDiagonal) -> DiscreteDiagonal:
        z, hB = scaled_modes(system)
        q = stage_weights(self.tableau, z)
        B0, B1 = self._input_matrices([w[..., None] * hB for w in q])
        held = DiscreteDiagonal(
            lam=1 + z * _sum(q), B=B0, C=system.C, D=system.D, conjugate=system.conjugate
        )
        return held if B1 is None else with_ramp(held, B1)

    def elementwise(self) -> ElementwiseRule | None:
        """That of one stage. None for several stages, and for an explicit stage with a first-order
        hold, which adds nothing to D but counts as a method that changes it."""
        place, held = float(self.tableau.T[0, 0]), self.config.hold is Hold.zero
        if self.tableau.stages > 1 or not (held or place):
            return None
        return ElementwiseRule(Rule.one_stage, alpha=place, c=0.0 if held else place)

    def dense(self, system: ContinuousDense) -> DiscreteDense:
        hA, hB, eye = scaled_matrices(system)
        q = stage_matrices(self.tableau, hA, eye)
        hB = hB.to(torch.promote_types(hA.dtype, hB.dtype))
        B0, B1 = self._input_matrices([w.to(hB.dtype) @ hB for w in q])
        held = DiscreteDense(A=eye + hA @ _sum(q), B=B0, C=system.C, D=system.D)
        return held if B1 is None else with_ramp(held, B1)

    def increment(self, z: Inexact[Tensor, "*shape"]) -> Inexact[Tensor, "*shape"]:
        return z * _sum(stage_weights(self.tableau, z))

    def _input_matrices(self, qB: list[Tensor]) -> tuple[Tensor, Tensor | None]:
        """The matrices that multiply u[k] and u[k+1]; None for u[k+1] where the input is held."""
        if self.config.hold is Hold.zero:
            return _sum(qB), None
        pairs = [*zip(self.tableau.c.tolist(), qB, strict=True)]
        return _sum([(1 - c) * w for c, w in pairs]), _sum([c * w for c, w in pairs])


def stage_weights(
    tableau: Tableau, z: Inexact[Tensor, "*shape"]
) -> list[Inexact[Tensor, "*shape"]]:
    """q_j(z) elementwise, for each stage."""
    if tableau.lower:
        return _substitute(
            tableau, torch.ones_like(z), lambda x: z * x, lambda x, t: x / (1 - t * z)
        )
    T, b = _on_device(tableau.T, z), _on_device(tableau.b, z)
    matrix = torch.eye(len(b), dtype=z.dtype, device=z.device) - z[..., None, None] * T.T
    return list(solve(matrix, b.expand(*z.shape, -1)[..., None])[..., 0].unbind(-1))


def stage_matrices(
    tableau: Tableau, hA: Inexact[Tensor, "H N N"], eye: Inexact[Tensor, "N N"]
) -> list[Inexact[Tensor, "H N N"]]:
    """q_j(hA) for each stage; explicit tableaux need no solve."""
    if tableau.lower:
        unit = eye.expand_as(hA)
        # functions of A commute, so the side of the solve does not matter
        return _substitute(tableau, unit, lambda x: hA @ x, lambda x, t: solve(eye - t * hA, x))
    T, b = _on_device(tableau.T, hA), _on_device(tableau.b, hA)
    size = len(b) * len(eye)
    blocks = torch.einsum("ij,hkl->hjkil", T, hA).reshape(-1, size, size)  # block j, i: T_ij hA
    joint = torch.eye(size, dtype=hA.dtype, device=hA.device) - blocks
    weights = solve(joint, torch.kron(b[:, None], eye))
    return list(weights.unflatten(1, (len(b), len(eye))).unbind(1))


def _on_device(coefficients: np.ndarray, like: Tensor) -> Tensor:
    """Coefficients of a tableau; a GPU is not waited for."""
    return torch.from_numpy(coefficients.copy()).to(like, non_blocking=True)


def _sum(terms: list[Tensor]) -> Tensor:
    return functools.reduce(operator.add, terms)


def _substitute(
    tableau: Tableau,
    one: Tensor,
    times_z: Callable[[Tensor], Tensor],
    divide: Callable[[Tensor, float], Tensor],
) -> list[Tensor]:
    """q (I - z T) = b for lower triangular T, from the last stage to the first.

    ``divide(x, t)`` is x / (1 - t z); explicit stages never call it.
    """
    T, b, q = tableau.T.tolist(), tableau.b.tolist(), []
    for j in reversed(range(tableau.stages)):
        later = [t * w for t, w in zip((row[j] for row in T[j + 1 :]), q, strict=True) if t]
        numerator = b[j] * one + times_z(_sum(later)) if later else b[j] * one
        q.insert(0, divide(numerator, T[j][j]) if T[j][j] else numerator)
    return q
