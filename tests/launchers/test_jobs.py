"""Stop runs, by the means of whatever executes them."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys

import pytest

from ssmbench.launchers.jobs import cancel, cancel_all, jobs_in_queue
from ssmbench.runs.folder import RunFolder


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Commands of Slurm that write down how they were called; returns what was written."""
    place = tmp_path / "slurm"
    place.mkdir()
    for name, answer in {"squeue": "7_0\n7_1\n9", "scancel": "", "srun": ""}.items():
        file = place / name
        file.write_text(f'#!/bin/sh\necho {name} "$@" >> {place}/calls\nprintf "{answer}"\n')
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    return lambda: (place / "calls").read_text().splitlines() if (place / "calls").exists() else []


@pytest.fixture
def folder(tmp_path):
    """Make the folder of a run, with a status."""

    def make(name, state, **details):
        made = RunFolder(tmp_path / "runs" / name)
        made.path.mkdir(parents=True)
        made.write_status(state, **details)
        return made

    return make


def test_the_queue_is_read_from_slurm(slurm):
    assert jobs_in_queue() == {"7_0", "7_1", "9"}


@pytest.mark.parametrize("squeue", [None, "#!/bin/sh\nexit 1\n"])
def test_without_an_answer_of_slurm_there_is_no_queue(tmp_path, monkeypatch, squeue):
    if squeue:
        (tmp_path / "squeue").write_text(squeue)
        (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert jobs_in_queue() is None


def test_a_queued_run_is_cancelled_with_its_job(slurm, folder):
    run = folder("a", "queued", job="7_0")
    assert cancel(run) == "job 7_0 cancelled"
    assert slurm() == ["scancel 7_0"]
    assert (run.state, run.reason) == ("interrupted", "cancelled before it began")


def test_a_queued_run_is_taken_out_of_a_job_that_has_others(slurm, folder):
    run, other = folder("a", "queued", job="9"), folder("b", "queued", job="9")
    assert cancel(run) == "job 9 will leave it out"
    assert (run.state, other.status["state"]) == ("interrupted", "queued")
    assert slurm() == []


def test_all_runs_of_a_job_are_cancelled_at_once(slurm, folder):
    runs = [folder("a", "queued", job="9"), folder("b", "queued", job="9")]
    assert cancel_all(runs) == ["job 9 cancelled"] * 2
    assert slurm() == ["scancel 9"]
    assert [run.state for run in runs] == ["interrupted"] * 2


def test_a_running_run_of_a_shared_job_gets_the_signal_alone(slurm, folder):
    run, other = folder("a", "running", job="9"), folder("b", "running", job="9")
    pid = run.status["pid"]
    with run.lock(), other.lock():
        assert cancel(run) == f"SIGTERM sent to process {pid} of job 9"
    assert slurm() == [f"srun --jobid=9 --overlap --nodes=1 --ntasks=1 kill -TERM {pid}"]


HOLDER = """
import sys, time
from pathlib import Path
from ssmbench.runs.folder import RunFolder

folder = RunFolder(Path(sys.argv[1]))
with folder.lock():
    folder.write_status("running")
    print("running", flush=True)
    time.sleep(600)
"""


def test_a_run_on_this_machine_gets_the_signal(folder):
    run = folder("a", "missing")
    command = [sys.executable, "-c", HOLDER, str(run.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "running\n"
        assert cancel(run) == f"SIGTERM sent to process {holder.pid}"
        assert holder.wait(60) == -signal.SIGTERM


def test_what_does_not_run_is_left_alone(folder):
    assert cancel(folder("a", "failed")) == "nothing to stop: it is failed"
    dead = folder("b", "running", pid=2**22 - 1, host=socket.gethostname())
    assert cancel(dead) == "nothing to stop: it is interrupted"


def test_a_run_on_another_machine_is_cancelled_there(folder):
    run = folder("a", "running", pid=1, host="elsewhere")
    with run.lock():
        said = cancel(run)
    assert said == "not stopped: process 1 on elsewhere is executing it: cancel it there"
