"""The checkpoint from which a run is resumed: when it is written, and how it ends a run early."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from ssmbench.errors import OutOfTimeError
from ssmbench.training import interruption
from ssmbench.training.checkpoints import FOLDER, LAST, NEXT, PREVIOUS, RESUMABLE
from ssmbench.training.module import SequenceModule
from ssmbench.training.time_limits import TimeLimit


class _Asked(NamedTuple):
    """What ranks were asked to do: the number of a signal, 0 for none, and yes or no as 1 or 0."""

    signal: int
    out_of_time: int
    save: int


class LastCheckpoint(Checkpoint):
    """Saves the state from which a run is resumed, and ends a run that is asked to stop.

    ``last.ckpt`` is written where Lightning can resume the run bit for bit: at the end of each
    epoch; after each validation within one; every ten minutes; and when a signal or the time limit
    ends the run. The last three come after a whole optimizer step only, because checkpoints do not
    contain gradients that are being accumulated. The file before it is kept as ``previous.ckpt``.

    A run that is asked to stop ends after the current step, once that is logged and a validation
    that is due there is done, so that nothing is repeated when it is resumed.

    Raises:
        InterruptedRunError: in training, on every rank, where one of them was given a signal.
        OutOfTimeError: in training, on every rank.
    """

    #: Seconds of training after which a checkpoint is written within an epoch.
    _EVERY = 600.0

    def __init__(self, folder: Path, limit: TimeLimit):
        names = (NEXT, LAST, PREVIOUS)
        self._next, self._last, self._previous = (folder / FOLDER / name for name in names)
        self._limit = limit
        self._saved_at = 0.0
        self._is_saved = True
        self._between_steps = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        interruption.training_starts()
        self._saved_at = time.monotonic()
        _call_after_batches(trainer, lambda: self._after_batch(trainer, pl_module))
        if not pl_module.is_complete():
            self._end_if_asked(trainer, self._asked(trainer))

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: SequenceModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._is_saved = False
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        self._between_steps = stepped or trainer.is_last_batch

    def on_validation_end(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        fitting = trainer.state.fn == TrainerFn.FITTING
        if fitting and self._between_steps and not trainer.is_last_batch:
            self._save(trainer)

    def _after_batch(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        if not self._between_steps or trainer.is_last_batch or pl_module.is_complete():
            return  # in the last two cases, the end of the epoch follows
        asked = self._asked(trainer)
        if any(asked) and not self._is_saved:
            self._save(trainer)
        self._end_if_asked(trainer, asked)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        self._save(trainer)
        epochs, asked = trainer.max_epochs, self._asked(trainer)
        last = epochs is not None and 0 <= epochs <= trainer.current_epoch + 1
        if last or pl_module.is_complete():
            asked = asked._replace(out_of_time=0)
        self._end_if_asked(trainer, asked)

    def on_train_end(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        interruption.training_ends()

    def on_fit_end(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        """A run that was killed between the writing of its final checkpoint and its renaming has
        nothing left to train, and saves no other one."""
        if trainer.is_global_zero and self._next.exists():
            self._promote_next()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: SequenceModule, exception: BaseException
    ) -> None:
        interruption.training_fails(exception)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note whether a run can be resumed from a checkpoint, also from ``best.ckpt``."""
        fitting = trainer.state.fn == TrainerFn.FITTING
        checkpoint[RESUMABLE] = fitting and self._between_steps

    def _asked(self, trainer: pl.Trainer) -> _Asked:
        """What any rank is asked to do; time passes by the clock of rank 0."""
        first = trainer.is_global_zero
        out_of_time = first and self._limit.is_over(trainer)
        save = first and time.monotonic() - self._saved_at >= self._EVERY
        return _Asked(*interruption.agreed(trainer, interruption.received(), out_of_time, save))

    def _end_if_asked(self, trainer: pl.Trainer, asked: _Asked) -> None:
        if asked.signal:
            raise interruption.interrupted_by(asked.signal, f" at step {trainer.global_step}")
        if asked.out_of_time:
            raise OutOfTimeError(trainer.global_step)

    def _save(self, trainer: pl.Trainer) -> None:
        """Write a checkpoint, under a third name first: two good ones are kept throughout."""
        trainer.save_checkpoint(self._next)
        if trainer.is_global_zero:
            self._promote_next()
        self._is_saved, self._saved_at = True, time.monotonic()

    def _promote_next(self) -> None:
        if self._last.exists():
            self._last.replace(self._previous)
        self._next.replace(self._last)


def _call_after_batches(trainer: pl.Trainer, function: Callable[[], None]) -> None:
    """Let a function be called after each batch of training, when it has been logged and counted
    and a validation after it is done, which none of Lightning's hooks is.

    There, ranks also agree on whether to stop; Lightning's own way of that, a broadcast before each
    batch which reads rank 0 alone, is left out.
    """
    loop = trainer.fit_loop.epoch_loop
    advance_end = loop.on_advance_end

    def on_advance_end(*arguments: Any) -> None:
        advance_end(*arguments)
        function()

    vars(loop).update(on_advance_end=on_advance_end, _broadcast_sigterm_tensor=lambda: None)
