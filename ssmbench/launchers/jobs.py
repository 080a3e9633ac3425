"""Runs that wait in a scheduler's queue or that are being executed: which there are, and how to
stop them. Loads neither torch nor Lightning."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssmbench import jsonio
from ssmbench.runs.folder import RunFolder

#: The states of a run that can be cancelled.
UNDER_WAY = ("queued", "running")
#: Seconds after which a command of Slurm counts as unanswered.
_PATIENCE = 30.0


def jobs_in_queue() -> set[str] | None:
    """The jobs of this user that wait, run or end at this moment, as ``123`` or, in an array,
    ``123_0``; None if no Slurm answers here."""
    if shutil.which("squeue") is None:
        return None
    answer = _slurm("squeue", "--noheader", "--array", "--format=%i", f"--user={os.geteuid()}")
    return None if answer.returncode else set(answer.stdout.split())


def cancel(folder: RunFolder) -> str:
    """Ask that one run ends, as :func:`cancel_all` does; returns what was done, in words."""
    return cancel_all([folder])[0]


def cancel_all(folders: Sequence[RunFolder]) -> list[str]:
    """Ask that runs end; returns for each what was done, or why nothing was, in words.

    A running run writes a checkpoint and ends as ``interrupted``. A job of Slurm is cancelled when
    all its runs are among ``folders``; of a job with further runs, only these runs are stopped.
    """
    asked = {folder.path: folder for folder in folders}
    shared = _runs_by_job({folder.path.parent for folder in folders})
    answers: dict[str, str] = {}
    for job, runs in shared.items():
        if all(run.path in asked for run in runs) and any(run.path in asked for run in runs):
            answers[job] = _cancel_job(job)
    return [_cancel_run(folder, answers) for folder in folders]


def _runs_by_job(roots: Iterable[Path]) -> dict[str, list[RunFolder]]:
    """The runs under way in folders of runs, by the job that they belong to."""
    found: dict[str, list[RunFolder]] = defaultdict(list)
    for path in (path for root in roots if root.is_dir() for path in root.iterdir()):
        status = jsonio.read(path / "status.json")
        if isinstance(status, dict) and status.get("state") in UNDER_WAY and status.get("job"):
            found[str(status["job"])].append(RunFolder(path))
    return found


def _cancel_run(folder: RunFolder, answers: dict[str, str]) -> str:
    """``answers``: what was said about the jobs that were cancelled as a whole."""
    state, status = folder.state, folder.status
    if state not in UNDER_WAY:
        return f"nothing to stop: it is {state}"
    job = str(status.get("job") or "")
    if state == "queued":
        if not answers.get(job, "").startswith("not stopped"):
            folder.write_status("interrupted", reason="cancelled before it began")
        return answers.get(job, f"job {job} will leave it out")
    if job in answers:
        return answers[job]
    return _signal_in_job(job, status) if job else _signal_here(status)


def _cancel_job(job: str) -> str:
    answer = _slurm("scancel", job)
    why = answer.stderr.strip() or f"exit code {answer.returncode}"
    return f"not stopped: scancel {job}: {why}" if answer.returncode else f"job {job} cancelled"


def _signal_in_job(job: str, status: Mapping[str, Any]) -> str:
    """Send SIGTERM to one run of a job that executes several, which are on one node."""
    pid = str(status.get("pid"))
    step = ("--overlap", "--nodes=1", "--ntasks=1")
    answer = _slurm("srun", f"--jobid={job}", *step, "kill", "-TERM", pid)
    if answer.returncode == 0:
        return f"SIGTERM sent to process {pid} of job {job}"
    why = answer.stderr.strip() or f"exit code {answer.returncode}"
    return f"not stopped: srun --jobid={job}: {why}"


def _signal_here(status: Mapping[str, Any]) -> str:
    host, pid = status.get("host", socket.gethostname()), status.get("pid")
    if host != socket.gethostname():
        return f"not stopped: process {pid} on {host} is executing it: cancel it there"
    try:
        os.kill(int(str(pid)), signal.SIGTERM)
    except (OSError, ValueError) as error:
        return f"not stopped: process {pid}: {error}"
    return f"SIGTERM sent to process {pid}"


def _slurm(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of Slurm; one that is missing or does not answer ends with an exit code."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
