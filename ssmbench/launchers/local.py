"""Runs of a suite side by side in worker processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol

from ssmbench.errors import InterruptedRunError, UsageError
from ssmbench.runs.folder import RunFolder


class Cell(Protocol):
    """A run that is wanted: its resolved config and its label."""

    @property
    def config(self) -> dict[str, Any]: ...

    @property
    def label(self) -> str: ...


Report = Callable[[Any, str], None]


def launch(cells: Sequence[Cell], root: Path, jobs: int, report: Report) -> None:
    """Execute every cell, ``jobs`` at a time, and ``report(cell, state)`` as each ends.

    A run that fails, or kills its worker, does not stop the others.
    """
    alone = [cell for cell in cells if _is_distributed(cell)]
    together = [cell for cell in cells if not _is_distributed(cell)]
    for cell, state in _pooled(together, root, jobs):
        report(cell, state)
    for cell in alone:  # one at a time: a distributed run takes the devices to itself
        report(cell, _execute_alone(cell, root))


def default_jobs() -> int:
    """One run a core, at most eight: small models gain nothing from more threads."""
    return max(1, min(8, len(os.sched_getaffinity(0))))


def _pooled(cells: Sequence[Cell], root: Path, jobs: int) -> Iterator[tuple[Cell, str]]:
    waiting = list(reversed(cells))
    jobs = max(1, min(jobs, len(cells)))
    while waiting:
        # A worker that dies breaks its pool: the runs in flight are tried alone in a fresh one.
        in_flight: dict[Future[str], Cell] = {}
        suspects: list[Cell] = []
        broken = False
        with _pool(jobs) as pool:
            while in_flight or (waiting and not broken):
                while waiting and len(in_flight) < jobs and not broken:
                    try:
                        in_flight[pool.submit(_execute, waiting[-1], root)] = waiting[-1]
                    except BrokenProcessPool:  # it broke since the last look
                        broken = True
                    else:
                        waiting.pop()
                done, _ = wait(in_flight, return_when=FIRST_COMPLETED)
                for future in done:
                    cell = in_flight.pop(future)
                    state = _state(future)
                    if state is None:
                        broken = True
                        suspects.append(cell)
                    else:
                        yield cell, state
        for cell in suspects:
            yield cell, _retry(cell, root)


def _retry(cell: Cell, root: Path) -> str:
    with _pool(1) as pool:
        state = _state(pool.submit(_execute, cell, root))
    return _fail(cell, root) if state is None else state


def _fail(cell: Cell, root: Path) -> str:
    RunFolder.create(root, cell.config).write_status("failed", reason="the worker process died")
    return "failed"


def _pool(jobs: int) -> ProcessPoolExecutor:
    # spawn: forking a process that has torch's threads running may deadlock
    context = multiprocessing.get_context("spawn")
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    return ProcessPoolExecutor(jobs, context, initializer=_prepare, initargs=(threads,))


def _prepare(threads: int) -> None:
    import torch

    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the launcher's stdout is for its report

    torch.set_num_threads(threads)


def _state(future: Future[str]) -> str | None:
    """What a worker returned; None when it died."""
    try:
        return future.result()
    except BrokenProcessPool:
        return None


def _execute(cell: Cell, root: Path) -> str:
    from ssmbench.runs.execute import execute

    try:
        return execute(cell.config, root)
    except UsageError:
        return "failed"  # the reason stands in the run's status
    except InterruptedRunError:
        return "interrupted"


def _is_distributed(cell: Cell) -> bool:
    trainer = cell.config["trainer"]
    return trainer.get("devices", 1) not in (1, "1") or trainer.get("num_nodes", 1) != 1


def _execute_alone(cell: Cell, root: Path) -> str:
    """In a process of its own, which Lightning may start again for each rank."""
    folder = RunFolder.create(root, cell.config)
    folder.write_config(cell.config)
    command = [sys.executable, "-m", "ssmbench", "run", str(folder.path / "config.yaml")]
    command += ["--output", str(root)]
    process = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if process.returncode and folder.status["state"] == "running":
        return _fail(cell, root)
    return folder.state
