"""The Itoh-Abe discrete gradient method: the loss decreases in every step, for any step size h.

Applied to the gradient flow x' = -grad f(x), it changes one coordinate x_i after another by the d
that solves

    d / h = -(f(x + d e_i) - f(x)) / d,    so that f decreases by d^2 / h

(Itoh and Abe 1988). On a quadratic function with h = 2 omega / ((2 - omega) a_ii) for x_i this is
a sweep of successive over-relaxation (Miyatake, Sogabe and Zhang 2018).

Each coordinate costs a few evaluations of the loss, so it is for models with few parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssmbench.errors import require
from ssmbench.optimizers.base import Closure, ClosureOptimizer, OptimizerConfig
from ssmbench.registry import optimizers

#: First trial step of a coordinate that has not changed yet, relative to its size.
_FIRST_TRIAL = 0.1
#: Largest ratio of a trial step to the last one; much longer steps may have an infinite loss.
_GROWTH = 8.0


@dataclass
class ItohAbeConfig(OptimizerConfig):
    """``lr`` is the step size h. The equation of a coordinate is solved to ``tolerance``, relative
    to its derivative, with at most ``evaluations`` of the loss.

    Weight decay adds ``weight_decay / 2 ||x||^2`` to the loss.
    """

    lr: float = 10.0
    ssm_lr: float = 10.0
    weight_decay: float = 0.0
    tolerance: float = 1e-3
    evaluations: int = 10
    max_parameters: int = 1000


#: From a trial step d to d/h + (f(x+d) - f(x))/d and f(x+d) - f(x).
Residual = Callable[[float], tuple[float, float]]


def solve(
    residual: Residual, slope: float, first: float, tolerance: float, evaluations: int
) -> float:
    """A step d with ``|residual| <= tolerance * |slope|`` at which f does not increase.

    ``slope`` is the residual at 0, the derivative of f; ``first`` is the first trial. On a
    quadratic function, whose residual is linear, the second trial is exact. If the evaluations are
    used up, the near end of the bracket is returned: there the residual has the sign of the slope,
    and f decreases by more than d^2/h. The step is 0 if rounding hides every decrease.
    """
    bracket, d = _Bracket(slope), first
    for _ in range(evaluations):
        value, change = residual(d)
        if abs(value) <= tolerance * abs(slope) and change <= 0:
            return d
        d = bracket.next(d, value)
    return bracket.near


class _Bracket:
    """False position by the Illinois rule: the value at an end kept twice in a row is halved."""

    def __init__(self, slope: float):
        self.slope = slope
        self.near, self.at_near = 0.0, slope
        self.far, self.at_far = math.inf, math.nan
        self._replaced = ""

    def next(self, d: float, value: float) -> float:
        """The next trial, after the residual ``value`` at ``d``."""
        if value * self.slope > 0:
            if math.isinf(self.far):
                return self._extrapolated(d, value)
            self.at_far *= 0.5 if self._replaced == "near" else 1.0
            self.near, self.at_near, self._replaced = d, value, "near"
        else:
            self.at_near *= 0.5 if self._replaced == "far" else 1.0
            self.far, self._replaced = d, "far"
            self.at_far = value if math.isfinite(value) and value else -self.slope
        share = self.at_near / (self.at_near - self.at_far)
        return self.near + (self.far - self.near) * share

    def _extrapolated(self, d: float, value: float) -> float:
        """The root of the secant through the last two points, at most _GROWTH times ``d``."""
        decrease = (self.at_near - value) / (d - self.near)
        self.near, self.at_near = d, value
        root = d + value / decrease if decrease else math.inf
        ahead = root / d > 1
        return root if ahead and root / d < _GROWTH else _GROWTH * d


@optimizers.register(
    "itoh_abe",
    config=ItohAbeConfig,
    citation="Itoh and Abe 1988; Miyatake, Sogabe and Zhang 2018",
    summary="discrete gradients, one coordinate at a time: the loss decreases at any step size",
)
class ItohAbe(ClosureOptimizer):
    """Each step is one sweep over all coordinates and does not increase the loss of its batch.

    Raises:
        UsageError: options out of range, or more than ``max_parameters`` coordinates.
    """

    one_process = True

    def __init__(self, config: ItohAbeConfig, *, groups: list[dict[str, Any]]):
        require(
            config.tolerance > 0 and config.evaluations >= 2,
            "needs a positive tolerance and at least 2 evaluations, got "
            f"{config.tolerance:g} and {config.evaluations}",
        )
        count = sum(p.numel() for group in groups for p in group["params"])
        require(
            count <= config.max_parameters,
            f"{count} parameters: must be at most {config.max_parameters} "
            "(optimizer.max_parameters), because each costs evaluations of the loss in every step",
        )
        super().__init__(groups, {"lr": config.lr, "weight_decay": config.weight_decay})
        self._tolerance, self._evaluations = config.tolerance, config.evaluations

    def advance(self, closure: Closure) -> float:
        start = loss = self.evaluate(closure)
        for group in self.param_groups:
            for parameter in group["params"] if group["lr"] > 0 else ():
                moved = self.state[parameter].setdefault("moved", torch.zeros_like(parameter))
                for index in np.ndindex(parameter.shape):
                    coordinate = _Coordinate(self, closure, group, parameter, index, loss)
                    loss = coordinate.descend(moved)
        return start

    def step_size(self, coordinate: _Coordinate, first: float) -> float:
        return solve(
            coordinate.residual, coordinate.slope, first, self._tolerance, self._evaluations
        )


class _Coordinate:
    """The loss as a function of one coordinate, from its present value."""

    def __init__(
        self,
        optimizer: ItohAbe,
        closure: Closure,
        group: dict[str, Any],
        parameter: Tensor,
        index: tuple[int, ...],
        loss: float,
    ):
        self.optimizer, self.closure = optimizer, closure
        self.h, self.decay = group["lr"], group["weight_decay"]
        self.parameter, self.index = parameter, index
        self.x, self.loss = float(parameter[index]), loss
        gradient = 0.0 if parameter.grad is None else float(parameter.grad[index])
        self.slope = gradient + self.decay * self.x
        self.tried = (self.x, loss)

    def residual(self, d: float) -> tuple[float, float]:
        """See :data:`Residual`; ``d`` is first rounded to the precision of the parameter."""
        self.parameter[self.index] = self.x + d
        d = float(self.parameter[self.index]) - self.x
        if d == 0:
            return 0.0, 0.0
        self.tried = (self.x + d, self.optimizer.evaluate(self.closure))
        change = self.tried[1] - self.loss + self.decay * d * (self.x + d / 2)
        return d / self.h + change / d, change

    def descend(self, moved: Tensor) -> float:
        """Change the coordinate and store the step in ``moved``; returns the loss at the new point.

        The gradients are then those at the new point.
        """
        if self.slope == 0 or not math.isfinite(self.slope):
            return self.loss
        d = self.optimizer.step_size(self, self._first_trial(float(moved[self.index])))
        self.parameter[self.index] = self.x + d
        moved[self.index] = d
        now = float(self.parameter[self.index])
        return self.tried[1] if self.tried[0] == now else self.optimizer.evaluate(self.closure)

    def _first_trial(self, moved: float) -> float:
        """The first trial: downhill, twice the step of the last sweep, and well above rounding."""
        size = max(1.0, abs(self.x))
        reach = max(2 * abs(moved), math.sqrt(torch.finfo(self.parameter.dtype).eps) * size)
        reach = reach if moved else _FIRST_TRIAL * size
        return -math.copysign(min(self.h * abs(self.slope), reach), self.slope)
