"""What a job of Slurm does: execute its runs, and queue itself again when its time is over."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ssmbench.launchers.base import Ended, Launcher
from ssmbench.launchers.interruption import interruptible
from ssmbench.launchers.slots import Config as LocalConfig
from ssmbench.ranks import whole_number
from ssmbench.runs.place import slurm_job
from ssmbench.runs.run import Run

#: Signals by which Slurm says that the time is nearly over.
_TIME_IS_OVER = (signal.SIGUSR1, signal.SIGUSR2)
#: Seconds in which whoever has submitted the job must have recorded that.
_RECORDING = 60.0
#: Seconds in which the claim of a node that was lost becomes stale, with a margin.
_STALE = 180.0
_PAUSE = 5.0


@dataclass(frozen=True)
class Job:
    """The runs of a job: several of one process each, or one of several ranks."""

    runs: tuple[Run, ...]
    max_requeues: int

    def execute(self) -> None:
        """Execute the runs that are still this job's; called once on each rank.

        Slurm starts a job again that it has preempted or whose node was lost. After SIGUSR1 or
        SIGUSR2, for which the runs have written checkpoints, the job itself asks for that.
        """
        job, restarts = slurm_job() or "", whole_number("SLURM_RESTART_COUNT")
        launcher = (
            _Ranks() if whole_number("SLURM_NTASKS", 1) > 1 else _side_by_side(len(self.runs))
        )
        with interruptible(launcher) as caught:
            if not restarts:
                _wait_for_record(self.runs, job)
            due = [run for run in self.runs if _is_due(run, job, restarts > 0)]
            _execute(launcher, due, time.monotonic() + (_STALE if restarts else 0))
        is_first = whole_number("SLURM_PROCID") == 0
        if is_first and caught and caught[0] in _TIME_IS_OVER and restarts < self.max_requeues:
            _requeue([run for run in self.runs if _is_due(run, job, True)], job, caught[0])


class _Ranks(Launcher):
    """One run, as a rank of it: srun has started the others."""

    def __init__(self) -> None:
        super().__init__(None)

    def launch(self, runs: Sequence[Run], jobs: int | None = None) -> Iterator[Ended]:
        """See :meth:`Launcher.launch`."""
        from ssmbench.launchers.worker import execute_safely

        for run in runs:
            yield run, execute_safely(run)


def _side_by_side(runs: int) -> Launcher:
    from ssmbench.launchers.local import Local

    return Local(LocalConfig(jobs=runs))


def _execute(launcher: Launcher, due: list[Run], until: float) -> None:
    """Execute runs; those that a lost node seems to hold again, until its claim is stale."""
    while due:
        ended: list[Ended] = []
        for run, state in launcher.launch(due):
            print(f"{run.label}: {state}", file=sys.stderr, flush=True)
            ended.append((run, state))
        held = [run for run, state in ended if state == "running" and not run.folder.is_complete]
        due = held if time.monotonic() < until else []
        if due:
            time.sleep(_PAUSE)


def _wait_for_record(runs: Sequence[Run], job: str) -> None:
    """Wait until the job that each run waits in is known, so that nothing is recorded later."""
    end = time.monotonic() + _RECORDING
    while any(run.folder.status.get("job") != job for run in runs) and time.monotonic() < end:
        time.sleep(0.2)


def _is_due(run: Run, job: str, restarted: bool) -> bool:
    """Whether this job is to execute a run: it was not cancelled, and no other job has it."""
    going = ("queued", "running", *(("interrupted",) if restarted else ()))
    return run.folder.status.get("job") == job and run.folder.state in going


def _requeue(runs: Sequence[Run], job: str, signum: int) -> None:
    if not runs:
        return
    for run in runs:
        reason = f"after {signal.Signals(signum).name}: {run.folder.reason}"
        run.folder.write_status("queued", job=job, reason=reason)
    asked = subprocess.run(["scontrol", "requeue", job], check=False)
    if asked.returncode:
        for run in runs:
            reason = f"its job {job} could not be queued again after {signal.Signals(signum).name}"
            run.folder.write_status("interrupted", reason=reason)
    print(f"job {job}: scontrol requeue: exit code {asked.returncode}", file=sys.stderr, flush=True)
