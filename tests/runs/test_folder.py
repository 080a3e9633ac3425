"""A run's folder on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from ssmbench import jsonio
from ssmbench.config import fingerprint, load_run, resolve
from ssmbench.errors import UsageError
from ssmbench.files import write_atomically
from ssmbench.runs import folder as runs_folder
from ssmbench.runs.folder import RunFolder
from ssmbench.runs.place import slurm_job
from ssmbench.runs.run import Run
from tests.runs.results import FINISHED, complete

pytestmark = pytest.mark.usefixtures("workplace")


@pytest.fixture
def config(tiny):
    return resolve(tiny)


@pytest.fixture
def folder(workplace, config):
    return Run.of(config, workplace / "runs").create()


def test_a_folder_is_named_by_the_fingerprint_and_holds_the_config(folder, config):
    assert folder.path.name == fingerprint(config)
    assert load_run(folder.path / "config.yaml") == config


def test_creating_a_folder_again_keeps_what_is_in_it(folder, config):
    folder.write_status("failed")
    assert Run.of(config, folder.path.parent).create().state == "failed"


def test_a_new_folder_is_missing_its_run(folder):
    assert (folder.state, folder.result, folder.is_complete) == ("missing", None, False)


@pytest.mark.parametrize("state", ["finished", "diverged"])
def test_a_run_is_done_when_its_result_and_its_state_say_so(folder, state):
    folder.write_status(state)
    assert not folder.is_complete
    complete(folder, state)
    assert folder.is_complete


def test_a_run_whose_process_died_is_interrupted(folder):
    """kill -9 leaves its last status behind; the kernel frees its lock."""
    with folder.lock():
        folder.write_status("running")
        assert folder.state == "running"
    assert (folder.state, folder.reason) == ("interrupted", "its process ended")


@pytest.mark.parametrize("state", ["running", "failed"])
def test_a_stale_result_does_not_make_a_run_done(folder, state):
    folder.write_result(FINISHED)
    folder.write_status(state)
    assert not folder.is_complete


def test_the_status_says_since_when_who_and_why(folder):
    folder.write_status("failed", reason="because")
    assert folder.status["reason"] == "because"
    assert folder.status["pid"] == os.getpid()
    assert {"host", "boot"} < set(folder.status)
    assert folder.status["updated"] > 0


@pytest.mark.parametrize(
    ("variables", "job"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "7"}, "7"),
        ({"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "8", "SLURM_ARRAY_TASK_ID": "0"}, "8_0"),
    ],
)
def test_a_slurm_job_is_named_as_submitit_does(variables, job):
    assert slurm_job(variables) == job


def test_a_queued_run_names_its_job_until_it_starts(folder):
    folder.write_status("queued", job="8_0")
    assert (folder.state, folder.status["job"]) == ("queued", "8_0")
    with folder.lock():
        assert folder.state == "running", "it started before it was recorded as queued"
        folder.write_status("running")
        folder.write_status("queued", job="8_0")
        assert folder.status["state"] == "running"


def test_a_complete_run_does_not_become_queued(folder):
    complete(folder)
    folder.write_status("queued", job="8_0")
    assert folder.state == "finished"


def test_the_state_of_a_complete_run_is_read_without_its_result(folder, monkeypatch):
    complete(folder)
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "read_result", lambda _: pytest.fail("the result was read"))
        assert (folder.state, folder.reason) == ("finished", "")
    for file in ("result.json", "poles.npz"):
        folder.write_status("finished")
        content, times = (folder.path / file).read_bytes(), (folder.path / file).stat()
        (folder.path / file).write_bytes(content[:50])
        assert folder.state == "damaged", "its size is another one"
        assert file in folder.reason
        (folder.path / file).write_bytes(content[:50] + bytes(len(content) - 50))
        os.utime(folder.path / file, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert folder.state == "finished", "only reading it shows that"
        assert (folder.checked_state, folder.is_complete) == ("damaged", False)
        assert file in folder.checked_reason
        (folder.path / file).write_bytes(content)
        assert (folder.state, folder.checked_reason) == ("finished", ""), "touched, but whole"


def test_a_result_of_a_later_version_is_not_taken_for_one_of_this(folder, monkeypatch):
    complete(folder)
    result = json.loads((folder.path / "result.json").read_text()) | {"schema": 99}
    (folder.path / "result.json").write_text(json.dumps(result))
    with monkeypatch.context() as later:
        later.setattr(runs_folder, "SCHEMA", 99)
        folder.write_status("finished")
    assert folder.state == "unreadable"
    assert "newer ssmbench" in folder.reason


def test_states_are_read_without_heavy_imports(folder):
    complete(folder)
    code = (
        "import pathlib, sys; from ssmbench.runs.folder import RunFolder;"
        "print(RunFolder(pathlib.Path(sys.argv[1])).state,"
        "{'torch', 'numpy', 'lightning'} & set(sys.modules) or 'nothing')"
    )
    command = [sys.executable, "-c", code, str(folder.path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == "finished nothing\n"


def test_a_status_of_an_earlier_version_is_read(folder):
    complete(folder)
    status = folder.status
    del status["files"], status["host"], status["boot"]
    (folder.path / "status.json").write_text(jsonio.dumps(status))
    assert (folder.state, folder.is_complete) == ("finished", True)


def test_a_status_is_replaced_in_one_step(folder):
    """A reader that has the old file open goes on reading the old one: it was never rewritten."""
    folder.write_status("running")
    (folder.path / "held").hardlink_to(folder.path / "status.json")
    folder.write_status("failed")
    assert json.loads((folder.path / "held").read_text())["state"] == "running"
    assert folder.state == "failed"
    leftovers = [f.name for f in folder.path.iterdir() if f.name.startswith(".")]
    assert leftovers == []


def test_a_write_that_fails_leaves_the_old_content(workplace):
    path = workplace / "file.json"
    write_atomically(path, "{}")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    assert path.read_text() == "{}"


@pytest.mark.parametrize("text", ["", "{", "\x00"])
def test_a_damaged_file_counts_as_missing(workplace, text):
    (workplace / "file.json").write_text(text)
    assert jsonio.read(workplace / "file.json") is None
    assert jsonio.read(workplace / "none.json") is None


def test_a_folder_that_cannot_be_made_is_refused(workplace, config):
    (workplace / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be created"):
        Run.of(config, workplace / "file").create()


def test_one_process_holds_the_lock_and_the_next_one_gets_it_afterwards(folder):
    with folder.lock() as first, folder.lock() as second:
        assert (first, second) == (folder, None)
    with folder.lock() as third:
        assert third == folder


def test_the_lock_of_a_dead_process_is_free(folder):
    code = (
        "import fcntl, os, sys; f = open(sys.argv[1], 'w');"
        "fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(folder.path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with folder.lock() as mine:
            assert not mine
        other.kill()
        other.wait()
        with folder.lock() as mine:
            assert mine
