"""Checkpoints: what is saved and when, which one a run is resumed from, and its log files.

A run is resumed from ``last.ckpt``; if that file is damaged, from the checkpoint before it, or else
from that of its best weights; if there is none, it starts again.
"""

from __future__ import annotations

import math
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from ssmbench.errors import UsageError, one_line
from ssmbench.files import delete_abandoned_drafts
from ssmbench.tasks.base import Task
from ssmbench.training.board.events import TENSORBOARD
from ssmbench.training.environment import is_main_process

FOLDER, BEST, LAST, PREVIOUS = "checkpoints", "best.ckpt", "last.ckpt", "previous.ckpt"
#: A complete checkpoint that is about to become ``last.ckpt``.
NEXT = "next.ckpt"
METRICS = "metrics.jsonl"
#: Whether a run can be resumed from a checkpoint; all but ``best.ckpt`` are written only if so.
RESUMABLE = "resumable"
_SIZES = "log_sizes"
#: The checkpoints of a run, from the newest on.
_BY_AGE = (NEXT, LAST, PREVIOUS, BEST)


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
    """The newest usable checkpoint of a run; for each damaged one there is a line on stderr.

    A checkpoint refers to the best weights so far, which are in a file of their own. If that file
    is damaged, these weights are lost, and the run starts again.
    """
    damaged: list[UsageError] = []
    for file in (folder / FOLDER / name for name in _BY_AGE):
        if not file.exists():
            continue
        try:
            state = load_checkpoint(file)
            if file.name != BEST and _best_score_in(state) is not None:
                load_checkpoint(folder / FOLDER / BEST)
        except UsageError as error:
            damaged.append(error)
            continue
        if file.name != BEST or state.get(RESUMABLE, False):
            step = state.get("global_step")
            _warn(damaged, f"the run goes on from {file.name} instead, at step {step}")
            return ResumePoint(file, state)
    _warn(damaged, "no other checkpoint can be used, so the run starts again")
    return ResumePoint(None, {})


def _warn(damaged: list[UsageError], remedy: str) -> None:
    """One line for each damaged file."""
    if is_main_process():
        for line in dict.fromkeys(map(str, damaged)):
            print(f"warning: {line}; {remedy}", file=sys.stderr, flush=True)


def _best_score_in(state: dict[str, Any]) -> Any:
    """The best validation score up to a checkpoint; None if there was no validation before it."""
    states = state.get("callbacks", {}).values()
    return next((s["best_model_score"] for s in states if "best_model_score" in s), None)


def prepare_folder(folder: Path, point: ResumePoint) -> None:
    """Delete what a run wrote after its resume point, because it will be repeated.

    Log files are truncated to their sizes at that point. To be called on one rank only.
    """
    files = [folder / FOLDER / name for name in _BY_AGE]
    if (folder / FOLDER).exists():
        delete_abandoned_drafts(folder / FOLDER, math.inf)
    for file in files if point.file is None else files[: files.index(point.file)]:
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
    """Keeps the weights with the best validation score in ``best.ckpt``; ``monitor`` is its key.

    A resumed run keeps the best score even if its folder was moved.
    """

    def __init__(self, folder: Path, task: Task, monitor: str = ""):
        super().__init__(
            dirpath=folder / FOLDER,
            filename=Path(BEST).stem,
            monitor=monitor or f"val/{task.score}",
            mode="max" if task.higher_is_better else "min",
            save_top_k=1,
            enable_version_counter=False,
        )

    def forget_scores(self) -> None:
        """Let the next validation be the best one so far, as after a truncation; the file is left
        until then."""
        self.best_k_models, self.kth_best_model_path, self.best_model_path = {}, "", ""
        self.best_model_score = self.current_score = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        old, new = state_dict["dirpath"], str(self.dirpath)
        moved = {k: v.replace(old, new) if isinstance(v, str) else v for k, v in state_dict.items()}
        files = state_dict["best_k_models"].items()
        moved["best_k_models"] = {file.replace(old, new): score for file, score in files}
        super().load_state_dict(moved)
