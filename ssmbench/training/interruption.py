"""Signals that ask a run to stop: at once outside training, in training after a checkpoint.

In training, the signal is noted, and :class:`~ssmbench.training.last_checkpoint.LastCheckpoint`
ends the run at the next batch after which it can be resumed. A second SIGINT or SIGTERM, a second
after the first or later, does not wait for that.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

import lightning.pytorch as pl
import torch
import torch.distributed as dist

from ssmbench.errors import InterruptedRunError

#: Ctrl-C, the end of an allocation, and the two by which schedulers announce it.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_INSISTENT = (signal.SIGINT, signal.SIGTERM)
#: Seconds within which a further signal is the same one: from a terminal, a launcher or a scheduler
#: both the process and its parent, which passes it on, are given it.
_SAME = 1.0
#: Seconds that a process has for ending by itself, before its watcher ends it.
_GRACE = 10.0
#: Seconds of waiting for the end of a training step, after which that is said.
_PATIENCE = 5.0


#: Records the state of a run, and the reason.
Record = Callable[[str, str], None]


class Stopped(BaseException):
    """A signal stops this process now; no code that handles errors should handle it."""

    def __init__(self, number: int):
        super().__init__(name_of(number))
        self.signal = number


def name_of(number: int) -> str:
    """The name of a signal, for example SIGTERM; its number if it has none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@dataclass
class _Process:
    """What this process knows of the signals that it was given."""

    received: int = 0
    since: float = 0.0
    in_training: bool = False
    #: Whether it is ending already, so that a further signal raises nothing.
    ending: bool = False
    #: Records the state of the run and its reason, where no exception can.
    record: Record | None = None


_process = _Process()


def received() -> int:
    """The signal by which this process was asked to stop; 0 if it was not."""
    return _process.received


def _insists(number: int, since: float) -> bool:
    """Whether a signal is another one than that received at ``since``, of somebody in a hurry."""
    return number in _INSISTENT and time.monotonic() - since >= _SAME


def _handle(number: int, frame: FrameType | None) -> None:
    first = _process.received == 0
    if first:
        _process.received, _process.since = number, time.monotonic()
    waits = _process.in_training and (first or not _insists(number, _process.since))
    if not (waits or _process.ending):
        _stop()


def _stop() -> NoReturn:
    _process.ending = True
    raise Stopped(_process.received)


def training_starts() -> None:
    """From now on a signal is noted, and not raised."""
    _process.in_training = True


def training_ends() -> None:
    """From now on a signal is raised.

    Raises:
        Stopped: one has been noted.
    """
    _process.in_training = False
    if _process.received and not _process.ending:
        _stop()


def training_fails(error: BaseException) -> None:
    """Training ended by an exception; where that is due to a signal, no other is raised."""
    _process.in_training = False
    _process.ending = _process.ending or isinstance(error, InterruptedRunError)


@contextmanager
def signals_stop_the_run(record: Record | None = None) -> Iterator[None]:
    """Within: :data:`SIGNALS` stop the run, and only by an exception; if its code does not return
    to Python within some seconds, the process ends.

    ``record`` is called, from another thread, with the state of a run that ends so.

    A signal that is ignored from the start stays so, as in the background of a shell script. In
    another thread than the main one nothing changes.

    Raises:
        InterruptedRunError: such a signal came outside training.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    global _process
    outer, _process = _process, _Process(record=record)
    handled = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before: dict[int, Any] = {}
    with _Watcher():
        try:
            before |= {number: signal.signal(number, _handle) for number in handled}
            yield
        except Stopped as stopped:
            raise interrupted_by(stopped.signal) from None
        finally:
            _process.ending = True  # nothing is raised while the handlers are put back
            for number, handler in before.items():
                signal.signal(number, handler)
            _process = outer


def interrupted_by(number: int, where: str = "") -> InterruptedRunError:
    """The error of a run that a signal stopped."""
    return InterruptedRunError(f"interrupted by {name_of(number)}{where}", number)


class _Watcher(threading.Thread):
    """Ends a process that does not end itself: Python's handlers wait until native code returns,
    such as a collective operation whose peer is lost.

    ``signal.set_wakeup_fd`` gives it the number of each signal at once.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True, name="signal-watcher")
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._over = threading.Event()

    def __enter__(self) -> None:
        self._before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self.start()

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._before)
        self._over.set()
        os.close(self._writer)
        self.join()
        os.close(self._reader)

    def run(self) -> None:
        number = self._next_signal()
        if number and _process.in_training:
            number = self._insistent_signal(number)
        if number and not self._over.wait(_GRACE):
            end_process("interrupted", f"interrupted by {name_of(number)}", 128 + number)

    def _insistent_signal(self, first: int) -> int:
        """The next signal that does not wait for the end of a step; 0 if the run ends before."""
        came = time.monotonic()
        number = self._next_signal(_PATIENCE)
        if number < 0:
            say(f"{name_of(first)}: stopping after this step; a second one stops at once")
        while number and not _insists(number, came):
            number = self._next_signal()
        return number

    def _next_signal(self, seconds: float | None = None) -> int:
        """The number of the next signal; 0 if the run has ended, -1 if there is none in time."""
        while select.select([self._reader], [], [], seconds)[0]:
            read = os.read(self._reader, 1)
            if not read or read[0] in SIGNALS:
                return read[0] if read else 0
        return -1


def end_process(state: str, reason: str, code: int) -> NoReturn:
    """End this process, whose main thread does not return from native code."""
    with suppress(Exception):
        if _process.record is not None:
            _process.record(state, reason)
    say(f"error: {reason}; the same command resumes from the last checkpoint")
    os._exit(code)


def say(line: str) -> None:
    """Write a line to stderr, from any thread and also where Python's own stream is in use."""
    with suppress(OSError):
        os.write(2, f"{line}\n".encode())


def agreed(trainer: pl.Trainer, *numbers: int) -> list[int]:
    """The largest of each number over all ranks, in one reduction."""
    if trainer.world_size == 1:
        return list(numbers)
    shared = torch.tensor(numbers, device=trainer.strategy.root_device)
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return shared.tolist()
