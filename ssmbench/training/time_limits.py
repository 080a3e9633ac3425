"""Time spent in training: a limit that interrupts a run, and a budget that ends it."""

from __future__ import annotations

import datetime
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.trainer.states import TrainerFn


class TimeLimit(Timer):
    """Measures the training time of a run over all its resumes, and compares it with a limit.

    It does not stop the training, as Lightning's ``Timer`` would.
    """

    def __init__(self, duration: Any):
        super().__init__(duration, verbose=False)

    def on_fit_start(self, *args: Any, **kwargs: Any) -> None:
        """Overridden, because Lightning's would end the fit as if it were complete."""

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Overridden for the same reason as :meth:`on_fit_start`."""

    def is_over(self, trainer: pl.Trainer) -> bool:
        """Whether the limit is reached by the clock of this rank."""
        remaining = self.time_remaining()
        return remaining is not None and remaining <= 0


class Budget(Timer):
    """Ends the training when it has taken ``seconds``, over all resumes of the run.

    The time includes validations during the training. What is repeated after an interruption
    counts once, because the time used so far is that in the checkpoint.
    """

    def __init__(self, seconds: float):
        super().__init__(datetime.timedelta(seconds=seconds), verbose=False)
        self._seconds = seconds

    def share(self, trainer: pl.Trainer) -> float:
        """The elapsed share by the clock of rank 0, from 0; the same number on every rank."""
        return float(trainer.strategy.broadcast(self.time_elapsed() / self._seconds))

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Overridden to stop after whole optimizer steps only."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch:
            self._check_time_remaining(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        if trainer.state.fn == TrainerFn.FITTING:
            self._check_time_remaining(trainer)
