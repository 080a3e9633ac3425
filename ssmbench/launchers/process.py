"""A process of its own for each run, forked from one that has torch and Lightning imported."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from ssmbench.launchers.slots import Slot
from ssmbench.launchers.watch import watch
from ssmbench.launchers.worker import execute_in_worker, record_failure, record_interruption
from ssmbench.runs.run import Run

#: Where a run's process writes what it prints, in the run's folder.
LOG = "output.log"
#: Exit code of a distributed run's process that left the run to another one.
HELD = 75
#: Signals that ask for the end of a process: a run that they end can be resumed.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
#: Seconds in which a process must end by itself once its run has ended.
_LEAVING = 30.0
#: Seconds after the grace period: the process that does not end then cannot run Python.
_STUCK = 10.0
#: Seconds that a second signal leaves.
_IMPATIENT = 5.0


def _context() -> Any:
    """The way in which processes start: forked from a server that has imported the packages once,
    and in which no thread runs that a fork could catch inside a lock."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ssmbench.runs.preloaded", *_imported_here()])
    # a scheduler sends its signals to all processes of a job: the server must not end by them
    for helper in (resource_tracker, forkserver):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            helper.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _imported_here() -> list[str]:
    """The modules of ssmbench that this process has, such as those that its main module imports,
    which each new process imports again if the server has not."""
    return sorted(name for name in sys.modules if name.startswith("ssmbench."))


class RunProcess:
    """A process that executes one run; its output goes to the run's :data:`LOG`."""

    def __init__(self, run: Run, slot: Slot, grace: float):
        run.create()
        self.run, self.grace = run, grace
        self._log = run.folder.path / LOG
        self._read_from = self._log.stat().st_size if self._log.exists() else 0
        self._state: str | None = None
        self._signal, self._deadline = 0, float("inf")
        context = _context()
        self._answer, answer = context.Pipe(duplex=False)
        place = {"folder": os.getcwd(), "environment": dict(os.environ)}
        self._process = context.Process(target=_work, args=(run, slot, grace, place, answer))
        self._process.start()
        answer.close()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def events(self) -> list[Any]:
        """What becomes ready when the run or the process ends, for
        :func:`multiprocessing.connection.wait`."""
        return [self._process.sentinel, *([] if self._answer.closed else [self._answer])]

    @property
    def seconds_left(self) -> float | None:
        """The seconds after which the process is to be killed; None if it has all the time."""
        left = self._deadline - time.monotonic()
        return None if left == float("inf") else max(0.0, left)

    def interrupt(self, signum: int) -> None:
        """Pass on a signal; the process is killed when it does not end in time. The second one
        leaves it little time."""
        wait = _IMPATIENT if self._signal else self.grace + _STUCK
        self._deadline = min(self._deadline, time.monotonic() + wait)
        self._signal = signum
        with suppress(ProcessLookupError):
            os.kill(self.pid, signum)

    def has_ended(self) -> bool:
        """Take note of what has happened; whether the process has ended."""
        if not self._answer.closed and self._answer.poll():
            with suppress(EOFError, OSError):
                self._state = self._answer.recv()
                self._deadline = min(self._deadline, time.monotonic() + _LEAVING)
            self._answer.close()
        if self.seconds_left == 0.0:
            self._kill_all()
            self._process.join()
        return self._process.exitcode is not None

    def outcome(self) -> str:
        """The state of the run, once the process has ended; a death without one is recorded."""
        self._kill_all()  # what is left of it: other ranks, workers of a data loader
        self._process.join()
        if self._state is None:
            self._state = self._state_of_dead(self._process.exitcode or 0)
        return self._state

    def warnings(self) -> list[str]:
        """The lines of its output that begin with ``warning:``, each once."""
        with suppress(OSError), self._log.open("rb") as log:
            log.seek(self._read_from)
            lines = log.read().decode(errors="replace").splitlines()
            return list(dict.fromkeys(line for line in lines if line.startswith("warning:")))
        return []

    def _kill_all(self) -> None:
        """Kill the process with those that it has started; it leads a group of processes."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.kill()  # it may have had no time yet to become a leader

    def _state_of_dead(self, code: int) -> str:
        if self.run.is_distributed and code == HELD:
            return "running"
        status = self.run.folder.status
        if status.get("pid") == self.pid and status["state"] not in ("running", "queued"):
            return self.run.folder.state  # it recorded how it ended
        if -code in ENDING or self._signal:
            return record_interruption(self.run, _why(code))
        return record_failure(self.run, f"{_why(code)}; see {LOG}")


def _why(code: int) -> str:
    """How a process ended that did not say it itself."""
    if code >= 0:
        return f"its process ended with exit code {code} and recorded nothing"
    name = signal.Signals(-code).name
    hint = " (memory ran out, or kill -9)" if -code == signal.SIGKILL else ""
    return f"its process was ended by {name}{hint}"


def _work(run: Run, slot: Slot, grace: float, place: Mapping[str, Any], answer: Connection) -> None:
    """Execute a run in this process, a fork of the server's, and answer with its state."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)  # blocked in the server
    os.setsid()  # Control-C in a terminal is for the launcher, which passes it on
    _redirect(run)
    os.chdir(place["folder"])
    os.environ.clear()
    os.environ.update(place["environment"])
    if slot.gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = slot.gpus
    parent = multiprocessing.parent_process()
    assert parent is not None, "it was started by multiprocessing"
    if run.is_distributed:
        _become_first_rank(run, parent.sentinel, grace)
    watch(parent.sentinel, grace, lambda reason: record_interruption(run, reason))
    import torch

    torch.set_num_threads(slot.threads)
    answer.send(execute_in_worker(run))
    answer.close()


def _redirect(run: Run) -> None:
    log = os.open(run.folder.path / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    sys.stdout.reconfigure(line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue]
    faulthandler.enable()  # a segmentation fault leaves the Python lines that led to it


def _become_first_rank(run: Run, parent: int, grace: float) -> None:
    """Replace this process by a fresh one, which Lightning can start again for each rank."""
    os.set_inheritable(parent, True)
    options = [str(run.folder.path), run.label, str(parent), str(grace)]
    os.execv(sys.executable, [sys.executable, "-m", "ssmbench.launchers.rank", *options])
