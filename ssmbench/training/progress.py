"""Speed and progress of the training."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

#: The first batches are slower: memory is allocated, kernels are compiled or chosen.
WARM_UP = 3


class Speed(pl.Callback):
    """Optimizer steps per second of training, without evaluation and the first batches (warm-up).

    ``accumulated``: batches of a step.
    """

    def __init__(self, accumulated: int = 1) -> None:
        self._accumulated = accumulated
        self._seen = 0
        self._timed = 0
        self._seconds = 0.0
        self._start = 0.0
        self._lap = 0, 0.0

    def on_train_batch_start(self, *args: Any) -> None:
        self._start = time.perf_counter()

    def on_train_batch_end(self, *args: Any) -> None:
        self._seen += 1
        if self._seen > WARM_UP:
            self._timed += 1
            self._seconds += time.perf_counter() - self._start

    @property
    def steps_per_second(self) -> float | None:
        """None if no step was timed."""
        return self._timed / self._accumulated / self._seconds if self._timed else None

    def lap(self) -> float | None:
        """Steps per second since the last call of this; None if no step was timed since."""
        timed, seconds = self._timed - self._lap[0], self._seconds - self._lap[1]
        self._lap = self._timed, self._seconds
        return timed / self._accumulated / seconds if timed else None


class Pace:
    """The time left of a number of epochs: as fast as they have passed since the first batches,
    validation included."""

    def __init__(self) -> None:
        self._seen = 0
        self._since: tuple[float, float] | None = None

    def count(self, now: float, done: float) -> None:
        """A batch has ended at this time, with so many epochs ``done``, fractions included."""
        self._seen += 1
        if self._seen == WARM_UP or self._since is None:
            self._since = now, done

    def left(self, now: float, done: float, total: float) -> float | None:
        """Seconds; None before the second batch."""
        if self._since is None or done <= self._since[1]:
            return None
        started, first = self._since
        return (now - started) * (total - done) / (done - first)


def duration_words(seconds: float) -> str:
    """A time for a reader: "1 h 5 min", "3 min", "40 s"; "" below a second."""
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    if seconds >= 60:
        return f"{minutes} min"
    return f"{round(seconds)} s" if seconds >= 1 else ""


class EpochProgress(pl.Callback):
    """Progress on stderr: a bar on a terminal, else about ten lines over the whole training.

    With the training loss of the last step, the last scores, steps per second and the time left.

    Within long epochs, the bar moves each second; without a terminal, a line is written when
    ``_PAUSE`` seconds have passed since the last one, and a twentieth of the time so far, so that a
    long run does not fill its log.
    """

    _LINES = 10
    _PAUSE = 30.0

    def __init__(self, label: str, speed: Speed):
        self._label, self._speed, self._pace = label, speed, Pace()
        self._started = self._shown = 0.0
        self._console = Console(stderr=True)
        self._progress: Progress | None = None

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = self._shown = time.monotonic()
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
        done = trainer.current_epoch + (batch_idx + 1) / trainer.num_training_batches
        self._pace.count(time.monotonic(), done)
        if trainer.is_last_batch or not self._is_due():
            return
        self._shown = time.monotonic()
        left = self._time_left(trainer, pl_module, done)
        if self._progress is not None:
            self._draw(done, f"{self._text(trainer, pl_module)} {left}".rstrip())
        else:
            self._print(trainer, pl_module, f"{done:.2f}", left)

    def _print(self, trainer: pl.Trainer, module: pl.LightningModule, done: str, left: str) -> None:
        of_all = f"/{trainer.max_epochs}" if (trainer.max_epochs or 0) > 0 else ""
        line = f"{self._text(trainer, module)} epoch {done}{of_all} {left}".rstrip()
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
        else:
            seconds = self._pace.left(time.monotonic(), done, float(total)) if total > 0 else None
        words = "" if seconds is None else duration_words(seconds)
        return f"{words} left" if words else ""

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch, total = trainer.current_epoch + 1, trainer.max_epochs or 0
        if self._progress is not None:
            self._draw(epoch, self._text(trainer, pl_module))
        elif self._ends_with_a_line(epoch, total):
            self._shown = time.monotonic()
            left = self._time_left(trainer, pl_module, float(epoch))
            self._print(trainer, pl_module, str(epoch), left)

    def _ends_with_a_line(self, epoch: int, total: int) -> bool:
        if total < 1:  # a budget of time: any number of epochs
            return epoch == 1 or self._is_due()
        return epoch % max(1, total // self._LINES) == 0 or epoch == total

    def _text(self, trainer: pl.Trainer, module: pl.LightningModule) -> str:
        logged = {k: v for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        metrics = {"train/loss": module.joint_loss, **logged}
        shown = [f"{k} {float(v):.4g}" for k, v in metrics.items()]
        rate = self._speed.steps_per_second
        return " ".join([self._label, *shown, *([] if rate is None else [f"{rate:.3g} steps/s"])])

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def on_exception(self, trainer: pl.Trainer, *args: Any) -> None:
        self.teardown(trainer, args[0], "fit")
