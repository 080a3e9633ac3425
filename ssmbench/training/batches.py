"""How many batches of each split the trainer's limits leave, checked before training."""

from __future__ import annotations

import lightning.pytorch as pl

from ssmbench.errors import require
from ssmbench.tasks.base import Task


def used_batches(available: int, limit: int | float) -> int:
    """The batches that Lightning uses of those available: a number of them, or a fraction."""
    return min(available, limit) if isinstance(limit, int) else int(available * limit)


def check_batches(trainer: pl.Trainer, task: Task) -> None:
    """Check that fractions leave a batch of every split, and that a validation fits in an epoch.

    Lightning would find this only when it begins with a split: the test split's after training.

    Raises:
        UsageError: the message names the Trainer argument.
    """
    loaders = {
        "train": task.train_dataloader,
        "val": task.val_dataloader,
        "test": task.test_dataloader,
    }
    for split, loader in loaders.items():
        limit = getattr(trainer, f"limit_{split}_batches")
        if isinstance(limit, float) and limit < 1:
            overfits = split != "test" and getattr(trainer, "overfit_batches", 0) > 0
            name = "overfit_batches" if overfits else f"limit_{split}_batches"
            _check_fraction(f"trainer.{name}", limit, len(loader()))
    available, limit = len(task.train_dataloader()), trainer.limit_train_batches
    _check_interval(trainer, used_batches(available, limit))


def _check_fraction(name: str, fraction: float, available: int) -> None:
    require(
        used_batches(available, fraction) >= 1,
        f"{name}: {fraction:g} of {available} batches is less than one batch",
    )


def _check_interval(trainer: pl.Trainer, epoch: int) -> None:
    interval = trainer.val_check_interval
    over_epochs = trainer.check_val_every_n_epoch is None
    require(
        over_epochs or not isinstance(interval, int) or interval <= epoch,
        f"trainer.val_check_interval: must be at most {epoch}, the batches of an epoch, unless "
        f"check_val_every_n_epoch is null, got {interval}",
    )
