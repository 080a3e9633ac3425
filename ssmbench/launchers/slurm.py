"""Runs as jobs of a Slurm cluster, through submitit."""

from __future__ import annotations

import fcntl
import importlib.util
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ssmbench.errors import SsmbenchError, require
from ssmbench.launchers.base import Ended, Launcher
from ssmbench.launchers.jobs import jobs_in_queue
from ssmbench.launchers.submission import Config, check_shapes, queue, tail_of_log
from ssmbench.launchers.worker import record_interruption
from ssmbench.registry import launchers
from ssmbench.runs.run import Run

#: Looks at the queue in which a job must be missing: file systems show new files late.
_LOOKS = 2
#: How often, and after how many seconds, a Slurm that does not answer is asked.
_TRIES, _PAUSE = 3, 2.0


@launchers.register("slurm", config=Config)
class Slurm(Launcher):
    """Jobs of a Slurm cluster, which go on without this process; a later call collects them."""

    outlives_suite = True

    def why_unavailable(self) -> str:
        """See :meth:`Launcher.why_unavailable`."""
        if importlib.util.find_spec("submitit") is None:
            return "launcher slurm needs the package submitit: pip install 'ssmbench[slurm]'"
        if shutil.which("sbatch") is None:
            return "launcher slurm: there is no sbatch on this machine; start it on a login node"
        return "" if jobs_in_queue() is not None else "launcher slurm: squeue does not answer"

    def launch(self, runs: Sequence[Run], jobs: int | None = None) -> Iterator[Ended]:
        """See :meth:`Launcher.launch`. Runs whose job is in the queue are not submitted again, nor
        those that have become complete since they were chosen.

        Raises:
            UsageError: Slurm or submitit is missing, or a run does not fit into a job.
            SsmbenchError: Slurm did not say which jobs there are, or refused the new ones.
            InterruptedRunError: a signal ended the waiting; the jobs go on.
        """
        missing = self.why_unavailable()
        require(not missing, missing)
        check_shapes(runs, self.config)
        if not runs:
            return
        folder = runs[0].folder.path.parents[1] / "slurm"
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            known = _known_jobs()
            complete = [run for run in runs if run.folder.is_complete]
            rest = [run for run in runs if run not in complete]
            held = [run for run in rest if _is_held_elsewhere(run, known)]
            others = [run for run in rest if run not in held]
            new = [run for run in others if not _is_under_way(run, known)]
            queue(new, self.config, folder, jobs)
        yield from ((run, run.folder.state) for run in complete)
        yield from ((run, "running") for run in held)
        if self.config.wait:
            yield from self._collect(others, folder)
        else:
            yield from ((run, "queued") for run in others)

    def side_by_side(self, jobs: int | None = None) -> int:
        """See :meth:`Launcher.side_by_side`."""
        return jobs or self.config.array_parallelism * self.config.runs_per_job

    def _collect(self, runs: Sequence[Run], folder: Path) -> Iterator[Ended]:
        """Wait for the runs to end."""
        unseen = dict.fromkeys(runs, 0)
        while unseen:
            known = jobs_in_queue()  # before the states: a job that is gone has written its own
            for run in list(unseen):
                in_queue = known is None or run.folder.status.get("job") in known
                unseen[run] = 0 if in_queue else unseen[run] + 1
                state = _state(run, unseen[run] >= _LOOKS, folder)
                if state is not None:
                    del unseen[run]
                    yield run, state
            if unseen:
                time.sleep(self.config.poll)


def _known_jobs() -> set[str]:
    """The jobs in the queue; one that is not known would be submitted a second time."""
    for _ in range(_TRIES):
        known = jobs_in_queue()
        if known is not None:
            return known
        time.sleep(_PAUSE)
    raise SsmbenchError("launcher slurm: squeue does not answer; nothing was submitted: try again")


def _is_under_way(run: Run, known: set[str]) -> bool:
    """Whether a job in the queue is going to execute the run, or is executing it."""
    going = run.folder.state in ("queued", "running", "interrupted")
    return going and run.folder.status.get("job") in known


def _is_held_elsewhere(run: Run, known: set[str]) -> bool:
    return run.folder.state == "running" and run.folder.status.get("job") not in known


def _state(run: Run, gone: bool, folder: Path) -> str | None:
    """The state of a run that has ended; None if it has not. ``gone``: its job has."""
    state = run.folder.state
    if state in ("queued", "interrupted", "missing"):
        return _interrupted(run, state, folder) if gone else None
    return None if state == "running" else state


def _interrupted(run: Run, state: str, folder: Path) -> str:
    """Complete the record of a run whose job has gone without saying why."""
    status = run.folder.status
    if status["state"] == "interrupted":  # the run itself, or whoever cancelled it
        return "interrupted"
    job = str(status.get("job", ""))
    before = "before the run began" if state == "queued" else "during the run"
    tail = tail_of_log(folder, job)
    return record_interruption(run, f"its job {job} ended {before}{tail and f': {tail}'}")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time decides what to submit, where the file system can lock."""
    with (folder / "lock").open("w") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
