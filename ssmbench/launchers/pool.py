"""A pool of worker processes that executes runs, and detects when a worker dies."""

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
    # spawn: forking a process in which torch's threads are running may deadlock
    context = multiprocessing.get_context("spawn")
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    return ProcessPoolExecutor(jobs, context, initializer=_prepare, initargs=(threads,))


def _prepare(threads: int) -> None:
    import torch

    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # stdout is reserved for the report
    torch.set_num_threads(threads)


def keep_busy(pool: Executor, waiting: list[Run], jobs: int) -> Iterator[tuple[Run, str | None]]:
    """Execute the runs of ``waiting``, ``jobs`` at a time; yield each with its state when it ends.

    A run is removed from the end of ``waiting`` when it is submitted. If a worker dies, its pool is
    unusable: the runs in flight are yielded with the state None, and the rest stay in ``waiting``.
    """
    in_flight: dict[Future[str], Run] = {}
    broken = False
    while in_flight or (waiting and not broken):
        broken = broken or not _submit(pool, waiting, in_flight, jobs)
        done, _ = wait(in_flight, return_when=FIRST_COMPLETED)
        for future in done:
            state = state_of(future)
            broken = broken or state is None
            yield in_flight.pop(future), state


def _submit(
    pool: Executor, waiting: list[Run], in_flight: dict[Future[str], Run], jobs: int
) -> bool:
    """Submit runs until ``jobs`` are in flight; False if the pool has broken."""
    while waiting and len(in_flight) < jobs:
        try:
            future = pool.submit(execute_in_worker, waiting[-1])
        except BrokenProcessPool:
            return False
        in_flight[future] = waiting.pop()
    return True


def state_of(future: Future[str]) -> str | None:
    """The state that a worker returned; None if it died."""
    try:
        return future.result()
    except BrokenProcessPool:
        return None
