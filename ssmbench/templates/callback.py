from dataclasses import dataclass

import lightning.pytorch as pl
import torch

from ssmbench.options import POSITIVE, option
from ssmbench.registry import callbacks
from ssmbench.tasks.base import Task


@dataclass
class GradientNormConfig:
    """``order``: 2 for the Euclidean norm, 1 for the sum of absolute values."""

    order: float = option(2.0, POSITIVE)


@callbacks.register("gradient_norm", config=GradientNormConfig, citation="this work")
class GradientNorm(pl.Callback):
    """Logs the norm of the gradient of all parameters, before it is clipped."""

    def __init__(self, config: GradientNormConfig, *, task: Task):
        self.order = config.order

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        norms = torch.stack([gradient.norm(self.order) for gradient in gradients])
        pl_module.log("train/gradient_norm", norms.norm(self.order))
