"""The effective batch: checked against the data, and said where a reader of the run looks."""

from __future__ import annotations

import sys

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_only

from ssmbench.config import batch_words
from ssmbench.errors import require
from ssmbench.tasks.base import Task
from ssmbench.training.board.events import text
from ssmbench.training.loggers import board_of
from ssmbench.training.module import SequenceModule


def check_effective_batch(wanted: int | None, task: Task) -> None:
    """Check that an epoch has a whole step of the effective batch that a run asks for.

    Raises:
        UsageError: the training split has fewer sequences.
    """
    available = len(task.split("train"))
    require(
        wanted is None or wanted <= available,
        f"effective_batch: {wanted} is more than the {available} training sequences of the task",
    )


def effective_batch(trainer: pl.Trainer, task: Task) -> int:
    """Sequences of one optimizer step, over all ranks."""
    return task.batch_size * _groups(trainer, task) * trainer.accumulate_grad_batches


def _groups(trainer: pl.Trainer, task: Task) -> int:
    """Ranks, or groups of ranks that share each sequence, with batches of their own."""
    return trainer.world_size // task.ranks_per_sequence


class EffectiveBatch(pl.Callback):
    """Says of what the effective batch is made: in TensorBoard's text, and in a line on stderr
    where it is more than one batch; ``label`` begins the line, None for none."""

    def __init__(self, label: str | None):
        self._label = label

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        task = pl_module.task
        groups, accumulated = _groups(trainer, task), trainer.accumulate_grad_batches
        words = batch_words(task.batch_size, groups, accumulated)
        board = board_of(trainer.loggers)
        if trainer.global_step == 0 and board:
            board.log_summaries([text("effective batch", words)], step=0)
        if self._label is not None and groups * accumulated > 1:
            print(f"{self._label}: {words}", file=sys.stderr, flush=True)
