"""The schedule ``plateau``: lower the learning rates where the validation score stays as it is."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.trainer.states import TrainerFn

from ssmbench.training.module import SequenceModule


class Plateau(pl.Callback):
    """Lowers the rates after more than ``patience`` validations in a row without a better score.

    They fall from the second optimizer step after the validation on. Lightning's own support of
    torch's ``ReduceLROnPlateau`` is not used, because it updates the rates after the checkpoint of
    an epoch is saved: a resumed run would not have the last update.
    """

    def __init__(self, patience: int):
        self._patience = patience
        self._best: float | None = None
        self._waited = 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        task = pl_module.task
        score = float(trainer.callback_metrics[f"val/{task.score}"])
        sign = 1 if task.higher_is_better else -1
        if self._best is None or sign * score > sign * self._best:
            self._best, self._waited = score, 0
            return
        self._waited += 1
        if self._waited > self._patience:
            self._waited = 0
            pl_module.lower_rates()

    def forget_scores(self) -> None:
        """Start again with the next validation, as after a truncation."""
        self._best, self._waited = None, 0

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best, "waited": self._waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best, self._waited = state_dict["best"], state_dict["waited"]
