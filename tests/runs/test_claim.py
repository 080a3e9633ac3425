"""One process executes a run: of all processes, hosts and file systems that can reach its folder.

Another host is one with another boot id. A dead or suspended one is a claim whose time is set back.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from ssmbench import jsonio
from ssmbench.errors import ClaimLostError, WriteError
from ssmbench.files import delete_abandoned_drafts, write_atomically
from ssmbench.runs import claim, claim_files
from ssmbench.runs.claim_files import ClaimFiles, Holder, file_server_time
from ssmbench.runs.folder import RunFolder
from tests.full_disk import full_disk


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path)


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS])
def without_locks(request, monkeypatch):
    """A network file system that refuses flock."""

    def refuse(*_):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.fixture
def local_locks(monkeypatch):
    """A network file system whose locks hold on each host alone."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)


def claim_of(folder: RunFolder, number: int = 1, *, age: float = 0, host: str = "n2") -> None:
    """A claim of another host, whose last heartbeat was ``age`` seconds ago."""
    holder = Holder(host=host, boot="another kernel", pid=7, started=1e9)
    assert ClaimFiles(folder.path).create(number, holder)
    set_back(folder, number, age)


def set_back(folder: RunFolder, number: int, age: float) -> None:
    then = file_server_time(folder.path) - age
    os.utime(folder.path / f"claim-{number}.json", (then, then))


def claims(folder: RunFolder) -> list[str]:
    return sorted(file.name for file in folder.path.glob("claim-*"))


def can_be_claimed(folder: RunFolder) -> bool:
    with folder.lock() as held:
        return held is not None


@contextmanager
def process(code: str, *arguments: object):
    """A Python process that has printed ``ready``; it goes on when it is sent a line."""
    command = [sys.executable, "-c", _HEAD + code, *map(str, arguments)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as child:
        try:
            assert child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.kill()


_HEAD = """
import os, signal, sys, time
from pathlib import Path
from ssmbench.errors import ClaimLostError
from ssmbench.runs import claim
from ssmbench.runs.folder import RunFolder
folder = RunFolder(Path(sys.argv[1]))
"""
_HOLD = """
with folder.lock() as held:
    held.write_status("running")
    print("ready", flush=True)
    sys.stdin.readline()
"""


# --- processes of one kernel --------------------------------------------------------------------


def test_a_run_that_a_killed_process_held_is_free_at_once(folder):
    with process(_HOLD, folder.path) as child:
        assert (folder.state, can_be_claimed(folder)) == ("running", False)
        assert folder.holder.pid == child.pid
        assert f"pid {child.pid}, since 20" in folder.reason
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert (folder.state, folder.reason) == ("interrupted", "its process ended")
        with folder.lock() as held:
            assert held.claim.before.holder.pid == child.pid, "it says who died, and when"


def test_a_suspended_process_keeps_its_run_on_its_host(folder):
    with process(_HOLD, folder.path) as child:
        child.send_signal(signal.SIGSTOP)
        set_back(folder, 1, age=1e5)
        assert (folder.state, can_be_claimed(folder)) == ("running", False)


_FORK = """
with folder.lock() as held:
    if os.fork() == 0:
        signal.pause()
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("state", ["failed", "interrupted"])
def test_a_launcher_records_the_end_of_a_dead_process_only(folder, state):
    with process(_HOLD, folder.path) as child:
        assert folder.record_end(state, "it died") == "running"
        assert folder.status["state"] == "running"
        child.kill()
        child.wait()
        assert folder.record_end(state, "it died") == state
        assert (folder.state, folder.reason) == (state, "it died")
    with folder.lock():
        assert folder.record_end(state, "of this process") == state
    claim_of(folder, 3)
    assert folder.record_end(state, "it died") == "running"


@pytest.mark.usefixtures("without_locks")
def test_a_launcher_records_the_end_of_a_dead_process_without_locks(folder):
    with process("print('ready')", folder.path) as child:
        child.wait()
    ClaimFiles(folder.path).create(1, Holder("n1", claim.boot_id(), child.pid, 1e9))
    assert folder.record_end("failed", "it died") == "failed"


def test_a_forked_process_does_not_hold_the_run_of_a_killed_parent(folder):
    """Such as one that loads data, and has not yet noticed."""
    with process(_FORK, folder.path) as child:
        (forked,) = map(int, _children(child.pid))
        child.kill()
        child.wait()
        try:
            assert can_be_claimed(folder)
        finally:
            os.kill(forked, signal.SIGKILL)


def _children(pid: int) -> list[str]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return file.read().split()


def test_a_run_is_given_back_after_an_error(folder):
    with pytest.raises(KeyError), folder.lock():
        raise KeyError
    assert not folder.is_held
    assert can_be_claimed(folder)


# --- other hosts --------------------------------------------------------------------------------


@pytest.mark.usefixtures("local_locks")
def test_the_run_of_another_host_is_left_to_it_while_its_heart_beats(folder):
    claim_of(folder, age=50)
    folder.write_status("running")
    assert (folder.state, can_be_claimed(folder)) == ("running", False)
    assert str(folder.holder).startswith("another process (n2, pid 7, since ")
    assert claims(folder) == ["claim-1.json"]


def test_the_run_of_a_dead_node_is_free_after_a_minute(folder):
    claim_of(folder, age=70)
    folder.write_status("running")
    assert folder.state == "interrupted"
    with folder.lock() as held:
        assert held.claim.before.holder.host == "n2"
        assert claims(folder) == ["claim-2.json"]
        assert not can_be_claimed(folder)
    assert can_be_claimed(folder)


def test_a_lock_that_a_dead_node_left_on_the_file_server_does_not_block(folder):
    """NFS 3 keeps the locks of a client until it comes back."""
    _, descriptor = claim_files.lock(folder.path / "lock")
    try:
        claim_of(folder, age=50)
        assert not can_be_claimed(folder)
        set_back(folder, 1, age=70)
        assert can_be_claimed(folder)
    finally:
        claim_files.unlock(descriptor)


@pytest.mark.usefixtures("without_locks")
def test_without_locks_the_heartbeat_decides_on_one_host_too(folder):
    with folder.lock():
        assert folder.is_held
        assert not can_be_claimed(folder)
    assert not folder.is_held
    with folder.lock() as held:
        number = len(claims(folder)) and int(claims(folder)[0][6:-5])
        set_back(folder, number, age=70)  # as if it had been killed
        assert can_be_claimed(folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(claim, "LEASE", 0)
            with pytest.raises(ClaimLostError):
                held.write_status("failed")


@pytest.mark.parametrize("offset", [-7200, 7200])
@pytest.mark.usefixtures("local_locks")
def test_the_clock_of_a_host_does_not_matter(folder, monkeypatch, offset):
    real = time.time
    monkeypatch.setattr(claim_files.time, "time", lambda: real() + offset)
    monkeypatch.setattr(claim_files, "_offsets", {})
    claim_of(folder, age=50)
    assert folder.is_held
    assert not can_be_claimed(folder)
    set_back(folder, 1, age=70)
    assert not folder.is_held
    assert can_be_claimed(folder)


_SUSPENDED = """
claim.boot_id = lambda: "another kernel"
claim.place = lambda: {"host": "n2", "boot": "another kernel", "pid": os.getpid()}
claim.LEASE = 0  # as if it had been suspended for longer than that
with folder.lock() as held:
    print("ready", flush=True)
    sys.stdin.readline()
    for write in (held.write_status, lambda text: held.write("result.json", text)):
        try:
            write("failed")
        except ClaimLostError as error:
            print(error, flush=True)
"""


def test_a_holder_that_wakes_after_it_was_taken_over_writes_nothing(folder):
    """It is suspended; another host takes its run over; it wakes, and wants to record a failure."""
    with process(_SUSPENDED, folder.path) as child:
        child.send_signal(signal.SIGSTOP)
        set_back(folder, 1, age=70)
        with folder.lock() as held:
            held.write_status("running")
            before = {file: file.stat().st_mtime_ns for file in folder.path.iterdir()}
            child.send_signal(signal.SIGCONT)
            out, _ = child.communicate("go on\n")
            assert len(out.splitlines()) == 2
            for line in out.splitlines():
                assert line.startswith(f"{folder.path}: another process (")
                assert line.endswith(") has taken it over; nothing more is written")
            assert {f: f.stat().st_mtime_ns for f in folder.path.iterdir()} == before
            held.check_claim()
            assert folder.state == "running"


def test_a_holder_whose_claim_was_deleted_stops(folder, monkeypatch):
    with folder.lock() as held:
        (folder.path / "claim-1.json").unlink()
        monkeypatch.setattr(claim, "LEASE", 0)
        with pytest.raises(ClaimLostError, match="its claim was deleted"):
            held.check_claim()


def test_a_holder_that_was_only_slow_goes_on(folder, monkeypatch):
    with folder.lock() as held:
        set_back(folder, 1, age=70)
        monkeypatch.setattr(claim, "LEASE", 0)
        held.write_status("running")
        assert time.time() - (folder.path / "claim-1.json").stat().st_mtime < 60, "touched"


def test_between_heartbeats_a_check_reads_nothing(folder, monkeypatch):
    with folder.lock() as held:
        monkeypatch.setattr(os, "utime", lambda *_: pytest.fail("it was touched"))
        monkeypatch.setattr(os, "listdir", lambda *_: pytest.fail("it was read"))
        held.check_claim()
        monkeypatch.undo()


def test_a_holder_touches_its_claim(folder, monkeypatch):
    monkeypatch.setattr(claim, "HEARTBEAT", 0.01)
    beaten = threading.Event()
    with folder.lock(on_beat=[beaten.set]):
        set_back(folder, 1, age=1000)
        beaten.clear()
        assert beaten.wait(60)
        beaten.clear()
        assert beaten.wait(60)
        assert time.time() - (folder.path / "claim-1.json").stat().st_mtime < 900


def test_a_folder_that_is_listed_as_it_was_does_not_keep_a_run(folder, monkeypatch):
    """NFS: another host gave claim 2 back; this one lists claim 1, until it creates a file."""
    claim_of(folder, 2)
    ClaimFiles(folder.path).release(2)
    real, listed, now = os.listdir, ["claim-1.json"], ClaimFiles.now
    monkeypatch.setattr(os, "listdir", lambda path: listed or real(path))
    monkeypatch.setattr(ClaimFiles, "now", lambda self: (listed.clear(), now(self))[1])
    assert can_be_claimed(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\x00", b"[1]", b'{"host": 3}'])
def test_a_claim_that_cannot_be_read_counts_for_a_minute(folder, content):
    file = folder.path / "claim-4.json"
    file.write_bytes(content)
    assert not can_be_claimed(folder)
    assert str(folder.holder) == "another process"
    set_back(folder, 4, age=70)
    assert can_be_claimed(folder)


def test_starting_again_keeps_the_claim(folder):
    with folder.lock() as held:
        held.write_status("running")
        held.clear()
        assert folder.state == "missing"
        assert {file.name for file in folder.path.iterdir()} == {"lock", "claim-1.json"}
        held.check_claim()


# --- many at once -------------------------------------------------------------------------------

_RACE = """
import errno, fcntl, json, random
from multiprocessing import get_context

def refuse(*_):
    raise OSError(errno.ENOLCK, "no locks")

def contend(which, barrier, folders, won):
    fcntl.flock = refuse
    claim.boot_id = lambda: f"kernel {which}"
    claim.place = lambda: {"host": f"n{which}", "boot": f"kernel {which}", "pid": which}
    for index, folder in enumerate(folders):
        barrier.wait()
        with RunFolder(folder).lock() as held:
            won[index * N + which] = held is not None
            barrier.wait()

context = get_context("fork")
N, folders = 6, sorted(folder.path.iterdir())
won, barrier = context.Array("b", N * len(folders)), context.Barrier(N)
workers = [context.Process(target=contend, args=(i, barrier, folders, won)) for i in range(N)]
[worker.start() for worker in workers]
[worker.join() for worker in workers]
print("ready")
print(json.dumps([sum(won[i * N : i * N + N]) for i in range(len(folders))]))
"""


def test_of_six_hosts_without_locks_one_takes_a_run(tmp_path):
    """40 runs of a dead node, and 20 that nobody ever had."""
    for index in range(60):
        folder = RunFolder(tmp_path / f"{index}")
        folder.path.mkdir()
        if index % 3:
            claim_of(folder, number=index + 1, age=70)
    with process(_RACE, tmp_path) as child:
        assert json.loads(child.stdout.readline()) == [1] * 60


# --- full disks, abandoned files ----------------------------------------------------------------


def test_a_claim_on_a_full_disk_is_one_line_and_leaves_nothing(folder):
    with full_disk(), pytest.raises(WriteError, match=r"claim-1\.json: cannot be written: "):
        can_be_claimed(folder)
    assert claims(folder) == []
    assert can_be_claimed(folder)


def test_a_full_disk_does_not_keep_a_run(folder, monkeypatch):
    """Giving it back needs no space."""
    with folder.lock(), full_disk():
        pass
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    monkeypatch.setattr(claim, "boot_id", lambda: "another kernel")
    assert can_be_claimed(folder)


def test_what_a_killed_writer_left_is_deleted_later(tmp_path):
    for name in (".status.json.12.deadbeef", ".result.json.12.139872345678912"):
        (tmp_path / name).touch()
    write_atomically(tmp_path / "status.json", "{}")
    delete_abandoned_drafts(tmp_path, time.time())
    assert len(list(tmp_path.iterdir())) == 3, "their writer may be at work"
    delete_abandoned_drafts(tmp_path, time.time() + 70)
    assert [file.name for file in tmp_path.iterdir()] == ["status.json"]


def test_a_holder_is_read_back(tmp_path):
    files, holder = ClaimFiles(tmp_path), Holder("n1", "b", 3, 4.5, True, "12_0")
    assert files.create(1, holder)
    assert files.read(1).holder == holder
    assert not files.create(1, holder)
    assert files.read(2) is None
    assert jsonio.loads((tmp_path / "claim-1.json").read_text())["job"] == "12_0"
