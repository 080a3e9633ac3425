"""Parallel execution in worker processes on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from ssmbench.launchers import pool
from ssmbench.launchers.base import Ended, Launcher
from ssmbench.launchers.worker import execute_in_subprocess, execute_in_worker, record_failure
from ssmbench.registry import launchers
from ssmbench.runs.run import Run

_MAX_JOBS = 8


@launchers.register("local")
class Local(Launcher):
    """Worker processes on this machine, by default one per core but at most eight."""

    def launch(self, runs: Sequence[Run], jobs: int | None = None) -> Iterator[Ended]:
        """See :meth:`Launcher.launch`. Distributed runs come last, one at a time, because each
        occupies all devices."""
        parallel = [run for run in runs if not run.is_distributed]
        yield from _in_parallel(parallel, max(1, min(jobs or default_jobs(), len(parallel))))
        for run in runs:
            if run.is_distributed:
                yield run, execute_in_subprocess(run)

    def side_by_side(self, jobs: int | None = None) -> int:
        """See :meth:`Launcher.side_by_side`."""
        return jobs or default_jobs()


def default_jobs() -> int:
    """One run per core but at most eight: small models do not benefit from more threads."""
    return max(1, min(_MAX_JOBS, len(os.sched_getaffinity(0))))


def _in_parallel(runs: Sequence[Run], jobs: int) -> Iterator[Ended]:
    """Open pools until no run is waiting. A worker that dies breaks its pool; each of the runs in
    flight at that moment may be the cause, and is executed again alone."""
    waiting = list(reversed(runs))
    while waiting:
        suspects = []
        with pool.open_pool(jobs) as workers:
            for run, state in pool.keep_busy(workers, waiting, jobs):
                if state is None:
                    suspects.append(run)
                else:
                    yield run, state
        for run in suspects:
            yield run, _retry_alone(run)


def _retry_alone(run: Run) -> str:
    """Execute a run in a pool of its own; if that breaks too, this run killed the worker."""
    with pool.open_pool(1) as worker:
        state = pool.state_of(worker.submit(execute_in_worker, run))
    return record_failure(run, "the worker process died") if state is None else state
