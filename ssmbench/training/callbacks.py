"""Callbacks: speed and progress."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Speed(pl.Callback):
    """Optimizer steps per second of training, without evaluation and the first steps (warm-up)."""

    _WARM_UP = 3

    def __init__(self) -> None:
        self._seen = 0
        self._timed = 0
        self._seconds = 0.0
        self._start = 0.0

    def on_train_batch_start(self, *args: Any) -> None:
        self._start = time.perf_counter()

    def on_train_batch_end(self, *args: Any) -> None:
        self._seen += 1
        if self._seen > self._WARM_UP:
            self._timed += 1
            self._seconds += time.perf_counter() - self._start

    @property
    def steps_per_second(self) -> float | None:
        """None if no step was timed."""
        return self._timed / self._seconds if self._timed else None


class EpochProgress(pl.Callback):
    """Progress on stderr: a bar on a terminal, else about ten lines over the whole training."""

    _LINES = 10

    def __init__(self, label: str):
        self._label = label
        self._console = Console(stderr=True)
        self._progress: Progress | None = None

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._console.is_terminal:
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=self._console)
        self._progress.start()
        total = trainer.max_epochs if (trainer.max_epochs or -1) > 0 else None
        self._bar = self._progress.add_task(self._label, total=total)

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch, total = trainer.current_epoch + 1, trainer.max_epochs or 0
        if self._progress is not None:
            self._progress.update(self._bar, completed=epoch, description=self._text(trainer))
        elif total < 1 or epoch % max(1, total // self._LINES) == 0 or epoch == total:
            of_all = f"/{total}" if total > 0 else ""
            print(f"{self._text(trainer)} epoch {epoch}{of_all}", file=sys.stderr, flush=True)

    def _text(self, trainer: pl.Trainer) -> str:
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items()}
        shown = [f"{k} {v:.4g}" for k, v in metrics.items() if k.startswith(("train/", "val/"))]
        return " ".join([self._label, *shown])

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def on_exception(self, trainer: pl.Trainer, *args: Any) -> None:
        self.teardown(trainer, args[0], "fit")
