"""Checkpoints: what is saved and when, which one a run is resumed from, and its log files.

A run is resumed from ``last.ckpt``, or from the checkpoint before it if that file is damaged. Both
are written only where Lightning can resume the run bit for bit: at the end of an epoch, or after a
validation within one, but not while gradients are being accumulated, because checkpoints do not
contain them.
"""

from __future__ import annotations

import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn

from ssmbench.errors import OutOfTimeError, UsageError, one_line
from ssmbench.tasks.base import Task
from ssmbench.training.module import SequenceModule
from ssmbench.training.time_limits import TimeLimit

FOLDER, BEST, LAST, PREVIOUS = "checkpoints", "best.ckpt", "last.ckpt", "previous.ckpt"
METRICS, TENSORBOARD = "metrics.jsonl", "tensorboard"
_SIZES = "log_sizes"


def load_checkpoint(file: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU; no code is unpickled.

    Raises:
        UsageError: the file is missing, damaged, or not a checkpoint; the message names it.
    """
    try:
        with zipfile.ZipFile(file) as archive:  # torch itself ignores the archive's checksums
            damaged = archive.testzip()
        state = None if damaged else torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # of many types, depending on where the damage is
        raise UsageError(f"{file}: not a checkpoint: {one_line(error)}") from None
    if not isinstance(state, dict) or not isinstance(state.get("state_dict"), dict):
        raise UsageError(f"{file}: not a checkpoint: it is damaged, or it holds no weights")
    return state


@dataclass(frozen=True)
class ResumePoint:
    """The checkpoint from which a run is resumed (None: from the start), and its content."""

    file: Path | None
    state: dict[str, Any]


def find_resume_point(folder: Path) -> ResumePoint:
    """The newest usable checkpoint of a run; damaged ones are reported on stderr.

    A checkpoint refers to the best weights so far, which are in a file of their own. If that file
    is damaged, these weights are lost, and the run starts again.
    """
    for name in (LAST, PREVIOUS):
        file = folder / FOLDER / name
        if not file.exists():
            continue
        try:
            state = load_checkpoint(file)
            best = _best_score_in(state)
            if best is not None:
                load_checkpoint(folder / FOLDER / BEST)
        except UsageError as error:
            print(f"warning: {error}; it is not used", file=sys.stderr, flush=True)
        else:
            return ResumePoint(file, state)
    return ResumePoint(None, {})


def _best_score_in(state: dict[str, Any]) -> Any:
    """The best validation score up to a checkpoint; None if there was no validation before it."""
    states = state.get("callbacks", {}).values()
    return next((s["best_model_score"] for s in states if "best_model_score" in s), None)


def prepare_folder(folder: Path, point: ResumePoint) -> None:
    """Delete what a run wrote after its resume point, because it will be repeated.

    Log files are truncated to their sizes at that point. To be called on one rank only.
    """
    for name in (LAST, PREVIOUS) if point.file is None else (LAST,):
        file = folder / FOLDER / name
        if file != point.file:
            file.unlink(missing_ok=True)
    sizes = {} if point.file is None else point.state.get(_SIZES)
    if sizes is None:  # written by an earlier version, which did not record them
        return
    for file in _log_files(folder):
        _truncate(file, sizes.get(str(file.relative_to(folder)), 0))


def _truncate(file: Path, size: int) -> None:
    if size == 0:
        file.unlink()
    elif file.stat().st_size > size:
        with file.open("r+b") as stream:
            stream.truncate(size)


def _log_files(folder: Path) -> list[Path]:
    files = [folder / METRICS, *(folder / TENSORBOARD).glob("events.*")]
    return [file for file in files if file.is_file()]


class LogSizes(Callback):
    """Stores the current sizes of the log files in each checkpoint."""

    def __init__(self, folder: Path):
        self._folder = folder

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.flush()
        files = _log_files(self._folder)
        checkpoint[_SIZES] = {str(f.relative_to(self._folder)): f.stat().st_size for f in files}


class BestCheckpoint(ModelCheckpoint):
    """Keeps the weights with the best validation score in ``best.ckpt``.

    A resumed run keeps the best score even if its folder was moved.
    """

    def __init__(self, folder: Path, task: Task):
        super().__init__(
            dirpath=folder / FOLDER,
            filename=Path(BEST).stem,
            monitor=f"val/{task.score}",
            mode="max" if task.higher_is_better else "min",
            save_top_k=1,
            enable_version_counter=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        old, new = state_dict["dirpath"], str(self.dirpath)
        moved = {k: v.replace(old, new) if isinstance(v, str) else v for k, v in state_dict.items()}
        files = state_dict["best_k_models"].items()
        moved["best_k_models"] = {file.replace(old, new): score for file, score in files}
        super().load_state_dict(moved)


class LastCheckpoint(Checkpoint):
    """Saves the state from which a run is resumed, and stops a run that is out of time.

    ``last.ckpt`` is written at the end of each epoch, and after each validation within one unless
    gradients are being accumulated; the file before it is kept as ``previous.ckpt``.

    A run that is out of time stops after the current batch, and repeats what it did since
    ``last.ckpt`` when it is resumed. No checkpoint is saved at that batch, because it has not been
    logged and validated yet.

    Raises:
        OutOfTimeError: in training, on every rank.
    """

    def __init__(self, folder: Path, limit: TimeLimit):
        self._last, self._previous = folder / FOLDER / LAST, folder / FOLDER / PREVIOUS
        self._limit = limit
        self._resumable = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        self._stop_if_out_of_time(trainer, pl_module)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: SequenceModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        self._resumable = stepped and not trainer.is_last_batch
        if not trainer.is_last_batch:  # at the end of an epoch, after saving
            self._stop_if_out_of_time(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and self._resumable:
            self._save(trainer)
            self._stop_if_out_of_time(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        self._save(trainer)
        epochs = trainer.max_epochs
        if epochs is None or not 0 <= epochs <= trainer.current_epoch + 1:
            self._stop_if_out_of_time(trainer, pl_module)

    def _save(self, trainer: pl.Trainer) -> None:
        if trainer.is_global_zero and self._last.exists():
            self._last.replace(self._previous)
        trainer.save_checkpoint(self._last)

    def _stop_if_out_of_time(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        if self._is_out_of_time(trainer, pl_module):
            raise OutOfTimeError(trainer.global_step)

    def _is_out_of_time(self, trainer: pl.Trainer, pl_module: SequenceModule) -> bool:
        complete = trainer.should_stop or 0 <= pl_module.max_steps <= trainer.global_step
        return not complete and self._limit.is_over(trainer)
