"""Chebyshev descent: the gradient flow x' = -grad f(x), by stabilised explicit Runge-Kutta steps.

Gradient descent is Euler's method on this flow and is stable for step sizes below 2/L, where L is
the largest curvature. A Runge-Kutta-Chebyshev method of s stages costs s gradients per step and is
stable for step sizes up to about 2 s^2 / L: s times as much for each gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssmbench.errors import require
from ssmbench.optimizers.base import Closure, ClosureOptimizer, OptimizerConfig
from ssmbench.registry import optimizers


@dataclass
class ChebyshevConfig(OptimizerConfig):
    """``stages`` gradients per step of size ``lr``. Without ``damping``, ``|R| = 1`` at some points
    inside the stability interval, and the corresponding components do not decay.

    Weight decay adds the gradient of ``weight_decay / 2 ||x||^2`` to the flow.
    """

    lr: float = 0.5
    ssm_lr: float = 0.05
    stages: int = 5
    damping: float = 0.05


@dataclass(frozen=True)
class Chebyshev:
    """Chebyshev polynomials T_0, ..., T_s at ``w0 = 1 + damping / s^2``; w1 = T_s(w0) / T_s'(w0).

    The stability function is R(z) = T_s(w0 + w1 z) / T_s(w0) = 1 + z + O(z^2) (van der Houwen and
    Sommeijer 1980; Verwer 1996).
    """

    w0: float
    w1: float
    values: tuple[float, ...]

    @classmethod
    def of(cls, stages: int, damping: float) -> Chebyshev:
        w0 = 1 + damping / stages**2
        values, slopes = [1.0, w0], [0.0, 1.0]
        for _ in range(stages - 1):
            slopes.append(2 * values[-1] + 2 * w0 * slopes[-1] - slopes[-2])
            values.append(2 * w0 * values[-1] - values[-2])
        return cls(w0, values[stages] / slopes[stages], tuple(values))

    @property
    def stability_limit(self) -> float:
        """Largest stable product of step size and curvature: 2 s^2 without damping."""
        return 2 * self.w0 / self.w1


@optimizers.register(
    "chebyshev",
    config=ChebyshevConfig,
    citation="Verwer 1996; Eftekhari et al. 2021",
    summary="gradient flow by a Runge-Kutta-Chebyshev method: stable for steps up to 2 stages^2/L",
)
class ChebyshevDescent(ClosureOptimizer):
    """Each step combines ``stages`` gradients of one batch by the three-term recurrence of T_j.

    With groups of different ``lr`` the stability limit applies to the Hessian with respect to the
    parameters divided by sqrt(lr).

    Raises:
        UsageError: no stage, or a negative damping.
    """

    def __init__(self, config: ChebyshevConfig, *, groups: list[dict[str, Any]]):
        require(config.stages >= 1, f"stages must be at least 1, got {config.stages}")
        require(config.damping >= 0, f"damping must not be negative: {config.damping:g}")
        super().__init__(groups, {"lr": config.lr, "weight_decay": config.weight_decay})
        self._polynomials = Chebyshev.of(config.stages, config.damping)
        self._stages = config.stages

    def advance(self, closure: Closure) -> float:
        T, w0, w1 = self._polynomials.values, self._polynomials.w0, self._polynomials.w1
        loss = self.evaluate(closure)
        parameters = [p for group in self.param_groups for p in group["params"]]
        older = [p.clone() for p in parameters]
        torch._foreach_add_(parameters, self._flow(), alpha=w1 / w0)
        for j in range(2, self._stages + 1):
            self.evaluate(closure)
            flow = self._flow()
            last_move = torch._foreach_sub(parameters, older)
            older = [p.clone() for p in parameters]
            # 2 w0 T_{j-1} - T_{j-2} = T_j, so the weights of the two last stages sum to 1.
            torch._foreach_add_(parameters, last_move, alpha=T[j - 2] / T[j])
            torch._foreach_add_(parameters, flow, alpha=2 * w1 * T[j - 1] / T[j])
        return loss

    def _flow(self) -> list[Tensor]:
        """``-lr (grad + weight_decay x)`` of every parameter, in the order of the groups."""
        return [
            -group["lr"] * ((0 if p.grad is None else p.grad) + group["weight_decay"] * p)
            for group in self.param_groups
            for p in group["params"]
        ]
