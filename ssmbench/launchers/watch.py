"""A thread that ends a worker which outlives its parent, or which a signal does not end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait

#: Signals that ask for the end of a run; USR1 and USR2 leave the time of it to a scheduler.
_ENDING = (signal.SIGINT, signal.SIGTERM)


def watch(parent: int, grace: float, record: Callable[[str], object]) -> None:
    """Watch over this process from a thread, which does not keep it alive.

    When the descriptor ``parent`` is closed at its other end, this process gets SIGTERM, as from a
    user. ``grace`` seconds after that, or after SIGINT or SIGTERM from anywhere, it ends whatever
    it does; ``record`` is called before, with the reason. Call this in the main thread.
    """
    reader, writer = os.pipe()
    for end in (reader, writer):
        os.set_blocking(end, False)
    # Python writes each signal's number there at once, also when no handler gets to run
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=_forget)  # signals to workers of a data loader are theirs
    threading.Thread(
        target=_wait_and_end, args=(parent, reader, grace, record), daemon=True, name="watch"
    ).start()


def _forget() -> None:
    if threading.current_thread() is threading.main_thread():
        signal.set_wakeup_fd(-1)


def _wait_and_end(parent: int, reader: int, grace: float, record: Callable[[str], object]) -> None:
    reason, signum = _wait(parent, reader)
    time.sleep(grace)
    try:
        record(f"{reason}; it had not ended {grace:g} s later")
    finally:
        os._exit(128 + signum)


def _wait(parent: int, reader: int) -> tuple[str, int]:
    """Wait until this process has to end; returns why, and the signal."""
    while True:
        if parent in wait([parent, reader]):
            os.kill(os.getpid(), signal.SIGTERM)
            return "its launcher ended", signal.SIGTERM
        for number in os.read(reader, 64):
            if number in _ENDING:
                return signal.Signals(number).name, number
