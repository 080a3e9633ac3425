"""PyTorch's first-order optimizers: one gradient per step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ssmbench.errors import require
from ssmbench.optimizers.base import OptimizerConfig
from ssmbench.options import NOT_NEGATIVE, PROPER_FRACTION, option
from ssmbench.registry import optimizers


@dataclass
class AdamConfig(OptimizerConfig):
    """The decay rates of both moments, and the term that keeps the quotient finite."""

    #: Decay rate of the mean of the gradient.
    beta1: float = option(0.9, PROPER_FRACTION, added=2)
    #: Decay rate of the mean of the squared gradient.
    beta2: float = option(0.999, PROPER_FRACTION, added=2)
    #: Added to the root of the mean square.
    eps: float = option(1e-8, NOT_NEGATIVE, added=2)


@optimizers.register(
    "adamw",
    config=AdamConfig,
    citation="Loshchilov and Hutter 2019",
    summary="AdamW with torch's defaults; weight decay is separate from the gradient",
)
def adamw(config: AdamConfig, *, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, betas=(config.beta1, config.beta2), eps=config.eps)


@optimizers.register(
    "adam",
    config=AdamConfig,
    citation="Kingma and Ba 2015",
    summary="Adam; weight decay is the gradient of a penalty",
)
def adam(config: AdamConfig, *, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, betas=(config.beta1, config.beta2), eps=config.eps)


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
