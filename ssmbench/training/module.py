"""The LightningModule: one for every task and every model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics import MeanMetric

from ssmbench.config import OptimizerConfig
from ssmbench.errors import DivergedError, require
from ssmbench.nn.model import SequenceModel, is_finite
from ssmbench.parametrizations.base import Parametrization
from ssmbench.scans.sequence_parallel import Segments
from ssmbench.tasks.base import Task


class SequenceModule(pl.LightningModule):
    """Trains a model on a task.

    Raises:
        DivergedError: a loss or prediction is not finite on any rank; all ranks raise together.
    """

    def __init__(self, model: SequenceModel, task: Task, optimizer: OptimizerConfig):
        super().__init__()
        self.model = model
        self.task = task
        self.optimizer = optimizer
        self.val_metrics = task.metrics().clone(prefix="val/")
        self.test_metrics = task.metrics().clone(prefix="test/")
        self.losses = nn.ModuleDict(
            {s: MeanMetric(nan_strategy="disable") for s in ("val", "test")}
        )
        self._finite = True
        self._groups: Segments | None = None

    @contextmanager
    def _segments(self) -> Iterator[None]:
        """Where several ranks share a sequence, each predicts with the features of its segment."""
        shared = self.task.ranks_per_sequence
        if shared == 1:
            yield
            return
        if self._groups is None:
            self._groups = Segments.among(shared)
        with self.model.sharing(self._groups):
            yield

    def forward(self, u: Float[Tensor, "B L inputs"]) -> Tensor:
        return self.model(u)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Make all that is random a function of seed, epoch, batch and rank.

        A resumed run then has the dropout and the augmentation of one that was not interrupted.
        """
        place = (self.task.seed, self.current_epoch, batch_idx, self.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        u, target = batch
        loss = self.task.loss(self._predict(self.task.augment(u)), target)
        # The mean over ranks is the loss of their joint batch, and not finite where one is not.
        joint = self.trainer.strategy.reduce(loss.detach().clone(), reduce_op="mean")
        if not bool(torch.isfinite(joint)):
            raise DivergedError(self.global_step)
        self.log("train/loss", joint, on_step=True, on_epoch=False)
        return loss

    def _predict(self, u: Float[Tensor, "B L inputs"]) -> Tensor:
        try:
            with self._segments():
                return self.model(u)
        except torch.linalg.LinAlgError:  # a factorization refuses matrices that are not finite
            if is_finite(self.model):
                raise
            raise DivergedError(self.global_step) from None

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._evaluate(batch, self.val_metrics, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._evaluate(batch, self.test_metrics, "test")

    def _evaluate(self, batch: tuple[Tensor, Tensor], metrics: Any, split: str) -> None:
        u, target = batch
        prediction = self._predict(u)
        loss = self.task.loss(prediction, target)
        self._finite &= bool(torch.isfinite(prediction).all() and torch.isfinite(loss))
        metrics.update(*self.task.to_metric(prediction, target))
        # Not by sync_dist, which divides the number of sequences by that of ranks as an integer.
        self.losses[split].update(loss.expand(len(u)))
        self.log(f"{split}/loss", self.losses[split], batch_size=len(u))
        self.log_dict(metrics, on_step=False, on_epoch=True, batch_size=len(u))

    def on_validation_epoch_end(self) -> None:
        self._stop_unless_finite(self._finite)

    def on_test_epoch_end(self) -> None:
        self._stop_unless_finite(self._finite)

    def _stop_unless_finite(self, finite: bool) -> None:
        # Ranks may see different numbers of evaluation batches: agree once, at the end.
        if not self.trainer.strategy.reduce_boolean_decision(finite, all=True):
            raise DivergedError(self.global_step)

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW in three groups, with linear warm-up and cosine decay per step."""
        optimizer = torch.optim.AdamW(parameter_groups(self.model, self.optimizer))
        schedule = Schedule(self.optimizer, self.total_steps())
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def total_steps(self) -> int:
        """Optimizer steps of the whole run.

        ``Trainer.estimated_stepping_batches`` sets the loaders up before a checkpoint's state for
        them is read: a run resumed inside an epoch would see that epoch's first batches again.

        Raises:
            UsageError: the run has no end.
        """
        trainer = self.trainer
        batches, limit = len(self.task.train_dataloader()), trainer.limit_train_batches
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        epoch = math.ceil(batches / trainer.accumulate_grad_batches)
        ends = [
            trainer.max_steps,
            epoch * (-1 if trainer.max_epochs is None else trainer.max_epochs),
        ]
        require(
            max(ends) >= 0,
            "trainer: the learning rate's schedule needs an end; set max_epochs or max_steps",
        )
        return min(end for end in ends if end >= 0)


class Schedule:
    """Factor on the learning rate at a step: linear warm-up, then cosine to ``final_fraction``."""

    def __init__(self, config: OptimizerConfig, total: int):
        self.warmup = max(1, round(config.warmup_fraction * total))
        self.rest = max(1, total - self.warmup)
        self.final = config.final_fraction

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = min(1.0, (step - self.warmup) / self.rest)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * done)) / 2


def parameter_groups(
    model: nn.Module, config: OptimizerConfig, kind: type[nn.Module] = Parametrization
) -> list[dict[str, Any]]:
    """Groups for AdamW: SSM parameters (own rate, no decay), matrices (decay), the rest (none).

    SSM parameters are those of the modules of one ``kind``.

    Decaying an SSM parameter would move poles and step sizes towards arbitrary values
    (Gu et al. 2022, S4, appendix D).
    """
    ssm = {
        id(p) for module in model.modules() if isinstance(module, kind) for p in module.parameters()
    }
    others = [p for p in model.parameters() if id(p) not in ssm]
    groups = [
        {
            "params": [p for p in model.parameters() if id(p) in ssm],
            "lr": config.ssm_lr,
            "weight_decay": 0.0,
        },
        {
            "params": [p for p in others if p.ndim >= 2],
            "lr": config.lr,
            "weight_decay": config.weight_decay,
        },
        {"params": [p for p in others if p.ndim < 2], "lr": config.lr, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
