"""PyTorch's first-order optimizers: one gradient per step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ssmbench.errors import require
from ssmbench.optimizers.base import OptimizerConfig
from ssmbench.registry import optimizers


@optimizers.register(
    "adamw",
    config=OptimizerConfig,
    citation="Loshchilov and Hutter 2019",
    summary="AdamW with torch's defaults; weight decay is separate from the gradient",
)
def adamw(config: OptimizerConfig, *, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups)


@dataclass
class SGDConfig(OptimizerConfig):
    """Weight decay is the gradient of ``weight_decay / 2 ||x||^2``; momentum 0 is plain descent."""

    lr: float = 0.05
    ssm_lr: float = 0.005
    momentum: float = 0.9
    nesterov: bool = False


@optimizers.register(
    "sgd",
    config=SGDConfig,
    citation="Sutskever et al. 2013",
    summary="stochastic gradient descent with momentum",
)
def sgd(config: SGDConfig, *, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Raises a UsageError unless 0 <= momentum < 1, and positive where ``nesterov``."""
    require(0 <= config.momentum < 1, f"sgd: momentum must be in [0, 1), got {config.momentum:g}")
    require(config.momentum > 0 or not config.nesterov, "sgd: nesterov needs a positive momentum")
    return torch.optim.SGD(groups, momentum=config.momentum, nesterov=config.nesterov)
