"""Signals that arrive while a launcher executes runs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ssmbench.errors import InterruptedRunError
from ssmbench.launchers.base import Launcher

#: Control-C, and what users, schedulers and machines that are shut down send.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


@contextmanager
def interruptible(launcher: Launcher) -> Iterator[list[int]]:
    """Within, signals go to the launcher; yields those that arrived, in order.

    The launcher's exception ends the block, not the caller. Only the main thread handles signals:
    in another one nothing changes.
    """
    caught: list[int] = []

    def pass_on(signum: int, _: object) -> None:
        caught.append(signum)
        launcher.interrupt(signum)

    in_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, pass_on) for number in SIGNALS if in_main}
    try:
        yield caught
    except InterruptedRunError as error:
        if not caught:  # the run had set handlers of its own
            caught.append(error.signal)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
