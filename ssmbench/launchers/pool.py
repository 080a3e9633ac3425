"""A pool of worker processes that is kept busy, and what it yields when a worker dies."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from ssmbench.launchers.worker import execute_in_worker
from ssmbench.runs.run import Run


def open_pool(jobs: int) -> Executor:
    """``jobs`` worker processes that share the cores of this process."""
    # spawn: forking a process that has torch's threads running may deadlock
    context = multiprocessing.get_context("spawn")
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    return ProcessPoolExecutor(jobs, context, initializer=_prepare, initargs=(threads,))


def _prepare(threads: int) -> None:
    import torch

    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the launcher's stdout is for its report
    torch.set_num_threads(threads)


def keep_busy(pool: Executor, waiting: list[Run], jobs: int) -> Iterator[tuple[Run, str | None]]:
    """Execute the runs of ``waiting``, ``jobs`` at a time; each with its state as it ends.

    A run is taken off the end of ``waiting`` as it is handed out. When a worker dies its pool is of
    no more use: the runs in flight come with the state None, and those not begun keep waiting.
    """
    in_flight: dict[Future[str], Run] = {}
    broken = False
    while in_flight or (waiting and not broken):
        broken = broken or not _hand_out(pool, waiting, in_flight, jobs)
        done, _ = wait(in_flight, return_when=FIRST_COMPLETED)
        for future in done:
            state = state_of(future)
            broken = broken or state is None
            yield in_flight.pop(future), state


def _hand_out(
    pool: Executor, waiting: list[Run], in_flight: dict[Future[str], Run], jobs: int
) -> bool:
    """Fill the free places; False where the pool broke since the last look."""
    while waiting and len(in_flight) < jobs:
        try:
            future = pool.submit(execute_in_worker, waiting[-1])
        except BrokenProcessPool:
            return False
        in_flight[future] = waiting.pop()
    return True


def state_of(future: Future[str]) -> str | None:
    """What a worker returned; None when it died."""
    try:
        return future.result()
    except BrokenProcessPool:
        return None
