"""Lion: the sign of a momentum (Chen et al. 2023, arXiv 2302.06675, algorithm 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssmbench.optimizers.base import OptimizerConfig
from ssmbench.options import NOT_NEGATIVE, PROPER_FRACTION, option
from ssmbench.registry import optimizers


@dataclass
class LionConfig(OptimizerConfig):
    """Every entry of a parameter moves by the learning rate, so that rates are about a tenth of
    AdamW's and weight decay is ten times as large."""

    lr: float = option(4e-4, NOT_NEGATIVE)
    ssm_lr: float = option(1e-4, NOT_NEGATIVE)
    weight_decay: float = option(0.1, NOT_NEGATIVE)
    #: Weight of the momentum in the direction of a step; the gradient has the rest.
    beta1: float = option(0.9, PROPER_FRACTION)
    #: Decay of the momentum from step to step.
    beta2: float = option(0.99, PROPER_FRACTION)


@optimizers.register(
    "lion",
    config=LionConfig,
    citation="Chen et al. 2023",
    summary="the sign of a momentum, with weight decay apart from the gradient",
)
class Lion(torch.optim.Optimizer):
    """x <- (1 - lr decay) x - lr sign(beta1 m + (1 - beta1) g), m <- beta2 m + (1 - beta2) g.

    Of complex parameters, the signs of real and imaginary part are taken apart.
    """

    def __init__(self, config: LionConfig, *, groups: list[dict[str, Any]]):
        super().__init__(groups, {"beta1": config.beta1, "beta2": config.beta2})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; the loss from before it, if ``closure`` gives one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)
        return loss

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"]
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        direction = momentum.lerp(gradient, 1 - group["beta1"])
        parameter.sub_(_sign(direction), alpha=group["lr"])
        momentum.lerp_(gradient, 1 - group["beta2"])


def _sign(values: Tensor) -> Tensor:
    if values.is_complex():
        return torch.view_as_complex(torch.view_as_real(values).sign())
    return values.sign()
