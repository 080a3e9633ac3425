from dataclasses import dataclass
from typing import Any

import torch

from ssmbench.optimizers.base import OptimizerConfig
from ssmbench.registry import optimizers


@dataclass
class RmspropConfig(OptimizerConfig):
    """``smoothing``: of the running mean of squared gradients."""

    smoothing: float = 0.99


@optimizers.register("rmsprop", config=RmspropConfig, citation="Tieleman and Hinton 2012")
def rmsprop(config: RmspropConfig, *, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Gradients divided by the root of their running mean square."""
    return torch.optim.RMSprop(groups, alpha=config.smoothing)
