"""The processes of a distributed run: where one is lost, the others end too, and say why.

Operations between processes wait for all of them, in native code where no signal is handled. So the
processes that rank 0 started are watched by it, and they watch rank 0; those that a cluster's
launcher started are lost when an operation fails or takes longer than ``trainer.timeout``.
"""

from __future__ import annotations

import atexit
import ctypes
import datetime
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch.distributed as dist
from lightning.pytorch.strategies.launchers.subprocess_script import (
    _set_num_threads_if_needed,
    _SubprocessScriptLauncher,
)

from ssmbench.errors import (
    DivergedError,
    InterruptedRunError,
    LostRankError,
    OutOfTimeError,
    one_line,
)
from ssmbench.training.interruption import SIGNALS, end_process, name_of, say

#: Seconds that a process has for ending by itself when another one is lost.
_GRACE = 10.0
#: Seconds of waiting for other processes to come, after which that is said.
_PATIENCE = 30.0
#: The variable by which rank 0 tells the ranks that it starts its own process number.
_PARENT = "SSMBENCH_PARENT"
#: Linux's number of the request that a process gets a signal when the one that started it ends.
_PR_SET_PDEATHSIG = 1


@contextmanager
def ranks_end_together(
    trainer: pl.Trainer, folder: Path, timeout: datetime.timedelta
) -> Iterator[None]:
    """Within: the ranks of ``trainer`` train; no rank waits for one that is lost. At the end, this
    one leaves their process group.

    What follows runs on rank 0 alone, whose metrics must not wait for other ranks. A rank that this
    process started is killed when this one exits, if it has not ended seconds after the training.

    Raises:
        InterruptedRunError: a signal ended another rank.
        LostRankError: another rank ended by an error, or the connection to it was lost.
    """
    launcher = _watched_launcher(trainer, folder, timeout)
    if launcher is None:
        yield
        return
    try:
        yield
    except (DivergedError, OutOfTimeError):
        raise  # on all ranks
    except BaseException as error:
        found = _explained(error, launcher)
        launcher.end_others(at_once=not isinstance(error, InterruptedRunError))
        if found is None:
            raise
        raise found from error
    finally:
        _leave_process_group()
        launcher.training_ends()


#: The process group that this process left last, until it exits or leaves another one.
_left: list[Any] = []


@atexit.register
def _let_go() -> None:
    if _left:
        gc.collect()  # other references first, which circles of references may hold
        _left.clear()


def _leave_process_group() -> None:
    """Leave the process group, and keep the object until the network that was trained is gone.

    Who drops the last reference to a group of gloo joins its threads, which may need Python's lock
    to free the tensors of their last operation. Python's own reference is dropped without that
    lock; the one of DistributedDataParallel with it, and the process would hang. And the threads
    must not outlive the interpreter: one that frees a tensor at shutdown aborts the process.
    """
    if dist.is_available() and dist.is_initialized():
        _left[:] = [dist.group.WORLD]
        dist.destroy_process_group()


def _watched_launcher(
    trainer: pl.Trainer, folder: Path, timeout: datetime.timedelta
) -> _Launcher | None:
    """The launcher that replaces Lightning's own; None for a run of one process."""
    strategy, found = trainer.strategy, trainer.strategy.launcher
    if not isinstance(found, _SubprocessScriptLauncher):
        return None
    started = (found.cluster_environment, found.num_processes, found.num_nodes)
    launcher = _Launcher(folder, *started)
    vars(strategy).update(_launcher=launcher, _timeout=timeout)
    _end_with_parent()
    _in_background(lambda: _announce_waiting(trainer, launcher, timeout))
    return launcher


def _in_background(function: Callable[[], None]) -> None:
    threading.Thread(target=function, daemon=True, name=function.__name__).start()


def _announce_waiting(
    trainer: pl.Trainer, launcher: _Launcher, timeout: datetime.timedelta
) -> None:
    time.sleep(_PATIENCE)
    if not (dist.is_initialized() or launcher.over.is_set()) and trainer.is_global_zero:
        say(f"waiting for {_place(launcher)}, for up to {timeout} in all")


def _place(launcher: _Launcher) -> str:
    """Which processes meet where."""
    cluster = launcher.cluster_environment
    nodes = f" on {launcher.num_nodes} nodes" if launcher.num_nodes > 1 else ""
    return (
        f"{launcher.ranks} processes{nodes} to meet at {cluster.main_address}:{cluster.main_port}"
    )


class _Launcher(_SubprocessScriptLauncher):
    """Starts the other ranks of this machine as Lightning does, and ends with them.

    Lightning's own observer of them kills this process too, and nothing says why.
    """

    def __init__(self, folder: Path, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.folder = folder
        self.over = threading.Event()
        self._ended = float("-inf")

    @property
    def ranks(self) -> int:
        """The number of processes of the run."""
        return self.num_processes * self.num_nodes

    def training_ends(self) -> None:
        """From now on, no rank is missed."""
        self._ended = time.monotonic()
        self.over.set()

    def launch(
        self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any
    ) -> Any:
        """Start the ranks if nobody else does, and call ``function``."""
        if self.ranks > 1:
            return self._launch(function, *args, **kwargs)
        with _environment_kept():
            return self._launch(function, *args, **kwargs)

    def _launch(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.cluster_environment.validate_settings(self.num_processes, self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            os.environ[_PARENT] = str(os.getpid())
            try:
                self._call_children_scripts()
            finally:
                del os.environ[_PARENT]
                atexit.register(self._end_remaining)
            _in_background(self._watch)
        _set_num_threads_if_needed(num_processes=self.num_processes)
        return function(*args, **kwargs)

    def _watch(self) -> None:
        """End this process if it does not end itself after another rank was lost: it waits for that
        rank in a GPU's collective operation."""
        while not self.over.wait(0.2):
            lost = self.lost_rank()
            if lost is not None and not self.over.wait(_GRACE):
                self.end_others(at_once=True)
                stopped = isinstance(lost, InterruptedRunError)
                state, code = ("interrupted", lost.exit_code) if stopped else ("failed", 1)
                end_process(state, str(lost), code)

    def lost_rank(self, least: int = 1) -> InterruptedRunError | LostRankError | None:
        """Why one of the ranks that this process started has failed; None if none has. With
        ``least`` 0, also a rank that has ended without an error."""
        for rank, process in enumerate(self.procs, start=1):
            code = process.poll()
            if code is not None and abs(code) >= least:
                return _reason(rank, code, self.folder)
        return None

    def end_others(self, at_once: bool) -> None:
        """Kill the ranks that this process started, which have nothing to save; unless ``at_once``,
        after they had time to end by themselves."""
        if not at_once:
            _wait_for(self.procs)
        for process in self.procs:
            process.kill()
        _wait_for(self.procs)

    def _end_remaining(self) -> None:
        """At the exit of this process: a rank that hangs would keep open what it writes to."""
        _wait_for(self.procs, max(0.0, self._ended + _GRACE - time.monotonic()))
        self.end_others(at_once=True)


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Within: what Lightning writes into the environment about ranks is forgotten at the end, for a
    later run of several processes would take it for that of a launcher, and wait for its ranks."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _wait_for(processes: list[subprocess.Popen], seconds: float = _GRACE) -> None:
    end = time.monotonic() + seconds
    while any(process.poll() is None for process in processes) and time.monotonic() < end:
        time.sleep(0.05)


def _reason(rank: int, code: int, folder: Path) -> InterruptedRunError | LostRankError:
    if code < 0:
        memory = ", or the machine ran out of memory" if code == -9 else ""
        return InterruptedRunError(f"rank {rank} was killed by {name_of(-code)}{memory}", -code)
    if code - 128 in SIGNALS:
        return InterruptedRunError(
            f"interrupted by {name_of(code - 128)} on rank {rank}", code - 128
        )
    return _written_error(folder, rank) or LostRankError(f"rank {rank} ended with exit code {code}")


def error_file(folder: Path, rank: int) -> Path:
    """Where a rank other than 0 writes the traceback of its error, in the folder of its run."""
    return folder / f"error_rank{rank}.txt"


def _written_error(folder: Path, rank: int) -> LostRankError | None:
    """The error that a rank has written since the run started, by the clock of its files."""
    file = error_file(folder, rank)
    try:
        if file.stat().st_mtime < (folder / "config.yaml").stat().st_mtime:
            return None
        *_, last = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):  # ValueError: it is empty yet
        return None
    return LostRankError(f"rank {rank} failed: {last} (full traceback: {file})")


def _explained(
    error: BaseException, launcher: _Launcher
) -> InterruptedRunError | LostRankError | None:
    """What lies behind an error of an operation between ranks; None for any other error."""
    if not is_lost_connection(error):
        return None
    came = dist.is_initialized()
    _leave_process_group()  # others that wait for this process learn of it too
    if not came:
        return LostRankError(f"waited in vain for {_place(launcher)}: start them all at once")
    end = time.monotonic() + (_GRACE if launcher.procs else _GRACE / 4)
    while time.monotonic() < end:
        written = (_written_error(launcher.folder, rank) for rank in range(1, launcher.ranks))
        found = next(filter(None, written), None) or launcher.lost_rank(least=0)
        if found is not None:
            return found
        time.sleep(0.05)
    return LostRankError(f"another process of the run is lost: {one_line(error)}")


def is_lost_connection(error: BaseException) -> bool:
    """Whether an operation between ranks failed, of which torch raises several types."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and "gloo" in str(error)
    )


def _end_with_parent() -> None:
    """End this process soon after rank 0 that started it, also where rank 0 was killed."""
    parent = os.environ.get(_PARENT)
    if parent is None:
        return

    def watch_parent() -> None:
        while os.getppid() == int(parent):
            time.sleep(0.5)
        os._exit(1)

    _die_with_parent()
    _in_background(watch_parent)


def _die_with_parent() -> None:
    """Let Linux kill this process then: no thread of it runs Python when the interpreter ends, or
    where native code holds its lock."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
