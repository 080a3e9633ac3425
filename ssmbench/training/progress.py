"""Speed and progress of the training."""

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
    """Progress on stderr: a bar on a terminal, else about ten lines over the whole training.

    Within long epochs, the bar moves each second; without a terminal, a line is written when
    ``_PAUSE`` seconds have passed since the last one, and a twentieth of the time so far, so that a
    long run does not fill its log. Both have the time left.
    """

    _LINES = 10
    _PAUSE = 30.0

    def __init__(self, label: str):
        self._label = label
        self._started = self._shown = 0.0
        self._first = 0
        self._console = Console(stderr=True)
        self._progress: Progress | None = None

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = self._shown = time.monotonic()
        self._first = trainer.current_epoch
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
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if trainer.is_last_batch or not self._is_due():
            return
        self._shown = time.monotonic()
        done = trainer.current_epoch + (batch_idx + 1) / trainer.num_training_batches
        left = self._time_left(trainer, pl_module, done)
        if self._progress is not None:
            text = f"{self._text(trainer, pl_module)} {left}".rstrip()
            self._draw(done, text)
            return
        of_all = f"/{trainer.max_epochs}" if (trainer.max_epochs or 0) > 0 else ""
        line = f"{self._text(trainer, pl_module)} epoch {done:.2f}{of_all} {left}".rstrip()
        print(line, file=sys.stderr, flush=True)

    def _draw(self, done: int | float, text: str) -> None:
        """Show progress on the bar at once: rich would draw it a tenth of a second later, by when
        the next text may have replaced it."""
        assert self._progress is not None
        self._progress.update(self._bar, completed=done, description=text, refresh=True)

    def _is_due(self) -> bool:
        now = time.monotonic()
        if self._progress is not None:
            return now - self._shown >= 1
        return now - self._shown >= max(self._PAUSE, (now - self._started) / 20)

    def _time_left(self, trainer: pl.Trainer, module: pl.LightningModule, done: float) -> str:
        """Of the run's budget, or as fast as the epochs have passed so far; "" if it has no end."""
        budget, total = getattr(module, "budget", None), trainer.max_epochs or 0
        if budget is not None:
            seconds = max(0.0, budget.time_remaining() or 0.0)
        elif total > 0:
            passed = time.monotonic() - self._started
            seconds = passed * (total - done) / (done - self._first)
        else:
            return ""
        minutes = round(seconds / 60)
        return (
            f"{minutes // 60} h {minutes % 60} min left" if minutes >= 60 else f"{minutes} min left"
        )

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch, total = trainer.current_epoch + 1, trainer.max_epochs or 0
        if self._progress is not None:
            self._draw(epoch, self._text(trainer, pl_module))
        elif self._ends_with_a_line(epoch, total):
            self._shown = time.monotonic()
            of_all = f"/{total}" if total > 0 else ""
            text = self._text(trainer, pl_module)
            print(f"{text} epoch {epoch}{of_all}", file=sys.stderr, flush=True)

    def _ends_with_a_line(self, epoch: int, total: int) -> bool:
        if total < 1:  # a budget of time: any number of epochs
            return epoch == 1 or self._is_due()
        return epoch % max(1, total // self._LINES) == 0 or epoch == total

    def _text(self, trainer: pl.Trainer, module: pl.LightningModule) -> str:
        logged = {k: v for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        metrics = {"train/loss": module.joint_loss, **logged}
        shown = [f"{k} {float(v):.4g}" for k, v in metrics.items()]
        return " ".join([self._label, *shown])

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def on_exception(self, trainer: pl.Trainer, *args: Any) -> None:
        self.teardown(trainer, args[0], "fit")
