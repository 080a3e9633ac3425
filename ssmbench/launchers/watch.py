"""A thread that ends a worker which outlives its launcher, or which a signal does not end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait

#: Signals that ask for the end of a run; USR1 and USR2 leave the time of it to a scheduler.
_ENDING = (signal.SIGINT, signal.SIGTERM)
#: Seconds between two looks at the signals received.
_POLL = 1.0


def watch(parent: int, grace: float, record: Callable[[str], object]) -> None:
    """Watch over this process from a thread, which does not keep it alive.

    When the descriptor ``parent`` is closed at its other end, this process gets SIGTERM, as from a
    user. ``grace`` seconds after that, or after SIGINT or SIGTERM from anywhere, it ends whatever
    it does; ``record`` is called before, with the reason.
    """
    arguments = (parent, grace, record)
    threading.Thread(target=_end_in_time, args=arguments, daemon=True, name="watch").start()


def _end_in_time(parent: int, grace: float, record: Callable[[str], object]) -> None:
    reason, signum = _wait(parent)
    time.sleep(grace)
    try:
        record(f"{reason}; its process had not ended {grace:g} s later")
    finally:
        os._exit(128 + signum)


def _wait(parent: int) -> tuple[str, int]:
    """Wait until this process has to end; returns why, and the signal."""
    from ssmbench.training.interruption import received

    while True:
        if wait([parent], _POLL):
            os.kill(os.getpid(), signal.SIGTERM)
            return "its launcher ended", signal.SIGTERM
        if received() in _ENDING:
            return signal.Signals(received()).name, received()
