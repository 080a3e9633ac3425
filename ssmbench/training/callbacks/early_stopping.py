"""Ending a training whose validation score has stopped improving."""

from __future__ import annotations

import math
from dataclasses import dataclass

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping

from ssmbench.options import NOT_NEGATIVE, POSITIVE_COUNT, option
from ssmbench.registry import callbacks
from ssmbench.tasks.base import Task


@dataclass
class StoppingConfig:
    """When to give up."""

    #: Validations in a row without a better score, after which the training ends.
    patience: int = option(10, POSITIVE_COUNT)
    #: A score counts as better if it is better by more than that, in the unit of the score.
    min_change: float = option(0.0, NOT_NEGATIVE)


@callbacks.register(
    "early_stopping",
    config=StoppingConfig,
    citation="L. Prechelt, Early stopping - but when?, in Neural Networks: Tricks of the Trade, "
    "Springer 1998",
    summary="Ends the training when the validation score has not improved for some validations",
)
class StopEarly(EarlyStopping):
    """Lightning's ``EarlyStopping`` on the task's score. The result says if it ended the training.

    The learning rates' schedule is over the whole length of the run all the same.
    """

    def __init__(self, config: StoppingConfig, *, task: Task):
        super().__init__(
            f"val/{task.score}",
            min_delta=config.min_change,
            patience=config.patience,
            mode="max" if task.higher_is_better else "min",
            check_finite=False,  # a loss that is not finite ends the run as diverged
            check_on_train_epoch_end=False,
        )
        self._score = task.score

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A run that was interrupted after its last step trains no further."""
        trainer.should_stop = trainer.should_stop or self._gave_up

    def forget_scores(self) -> None:
        """Start again with the next validation, as after a truncation."""
        self.wait_count = 0
        self.best_score = torch.tensor(math.inf if self.mode == "min" else -math.inf)

    @property
    def _gave_up(self) -> bool:
        return self.wait_count >= self.patience

    @property
    def note(self) -> str:
        """Why the training ended, for the run's result; "" if it is not the reason."""
        if not self._gave_up:
            return ""
        waited = f"{self.wait_count} validations in a row without a better {self._score}"
        return f"early_stopping: the training ended after {waited}"
