"""A run that another process holds or takes over, and a disk that is full while it is executed."""

from __future__ import annotations

import copy
import json
import os
from contextlib import nullcontext

import pytest

from ssmbench.config import resolve
from ssmbench.files import write_atomically
from ssmbench.runs import claim, folder, load, poles
from ssmbench.runs import execute as execution
from ssmbench.runs.execute import execute
from ssmbench.runs.run import Run
from tests.conftest import TINY
from tests.full_disk import full_disk
from tests.runs.test_claim import claim_of


@pytest.fixture
def run(workplace, write):
    write("run.yaml", TINY)
    return Run.of(resolve(copy.deepcopy(TINY)), workplace / "out")


def test_a_run_that_another_process_executes_is_one_line(run, ssmbench, monkeypatch):
    """It exited with a table and without a word on who has it."""
    monkeypatch.setattr(execution, "train", lambda *_: pytest.fail("it was trained"))
    with run.create().lock() as held:
        held.write_status("running")
        answer = ssmbench("run", "run.yaml", "-o", "out")
        (line,) = answer.err.splitlines()
        assert (answer.code, answer.out) == (1, "")
        assert line.startswith(f"error: {run.folder.path}: another process (")
        assert f"pid {os.getpid()}, since 20" in line
        assert line.endswith(") is executing it")
        assert run.folder.state == "running"
        told = json.loads(ssmbench("run", "run.yaml", "-o", "out", "--json").out)
        assert told["status"] == "running"
        assert f"pid {os.getpid()}" in told["reason"]
        forced = ssmbench("run", "run.yaml", "-o", "out", "--force")
        assert forced.code == 2
        assert f"pid {os.getpid()}" in forced.err


def _contents(run: Run) -> dict[str, bytes]:
    files = {f for f in run.folder.path.rglob("*") if f.is_file() and "tensorboard" not in f.parts}
    return {str(file.relative_to(run.folder.path)): file.read_bytes() for file in files}


def test_a_run_that_is_taken_over_ends_and_leaves_all_files_as_they_are(run, monkeypatch, capsys):
    """Another host takes it over, which was not heard of for a while, before its first step."""
    seen, real = {}, execution.train

    def taken_over(config, path, progress, check):
        claim_of(run.folder, 2)
        run.folder.write_status("running", reason="of the other host")
        monkeypatch.setattr(claim, "LEASE", 0)
        seen.update(_contents(run))
        return real(config, path, progress, check)

    monkeypatch.setattr(execution, "train", taken_over)
    assert execute(run) == "running"
    (line,) = [x for x in capsys.readouterr().err.splitlines() if "taken it over" in x]
    assert line.startswith(f"warning: {run.folder.path}: another process (n2, pid 7")
    assert _contents(run) == seen


@pytest.mark.parametrize("when", ["on_train_batch_end", "on_save_checkpoint"])
def test_training_ends_where_the_run_was_taken_over(run, monkeypatch, when):
    from ssmbench.training.ownership import Ownership

    hook = getattr(Ownership, when)

    def taken_over(self, *arguments):
        if not (run.folder.path / "claim-2.json").exists():
            claim_of(run.folder, 2)
        monkeypatch.setattr(claim, "LEASE", 0)
        hook(self, *arguments)

    monkeypatch.setattr(Ownership, when, taken_over)
    assert execute(run) == "running"
    assert not list(run.folder.path.glob("checkpoints/*"))
    assert run.folder.status["state"] == "running"


@pytest.fixture
def full_at(monkeypatch):
    """Let the disk be full while files of a name are written."""

    def fill(*names: str) -> None:
        def write(path, content, **options):
            with full_disk() if path.name in names else nullcontext():
                write_atomically(path, content, **options)

        for module in (folder, load, poles):
            monkeypatch.setattr(module, "write_atomically", write)

    return fill


@pytest.mark.parametrize("name", ["result.json", "poles.npz", "worst_input.npz"])
def test_a_full_disk_is_one_line_with_the_name_of_the_file(run, full_at, ssmbench, name):
    full_at(name)
    answer = ssmbench("run", "run.yaml", "-o", "out", "--json")
    assert answer.code == 1
    told = json.loads(answer.out)
    reason = f"{run.folder.path / name}: cannot be written: File too large"
    assert (told["status"], told["reason"]) == ("failed", reason)
    assert not any(file.name.startswith(".") for file in run.folder.path.iterdir())
    assert not (run.folder.path / "error.txt").exists()


def test_a_full_disk_at_the_first_status_is_one_line(run, full_at, ssmbench):
    full_at("status.json")
    answer = ssmbench("run", "run.yaml", "-o", "out")
    (line,) = answer.err.splitlines()
    assert (answer.code, answer.out) == (1, "")
    file = run.folder.path / "status.json"
    assert line == f"error: {file}: cannot be written: File too large"


def _crash(*_):
    raise ZeroDivisionError("planted")


def test_a_crash_is_told_although_its_traceback_cannot_be_written(run, full_at, monkeypatch):
    monkeypatch.setattr(execution, "train", _crash)
    full_at("error.txt")
    assert execute(run) == "failed"
    assert run.folder.reason == "ZeroDivisionError: planted"


def test_a_crash_is_told_although_nothing_can_be_written(run, full_at, monkeypatch, capsys):
    def crash(*_):
        full_at("error.txt", "status.json")
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(execution, "train", crash)
    assert execute(run) == "failed"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ZeroDivisionError: planted; ")
    assert line.endswith("status.json: cannot be written: File too large")
    assert run.folder.state == "interrupted"


@pytest.mark.parametrize("name", ["status.json", "config.yaml", "result.json", "error.txt"])
def test_a_full_disk_leaves_the_earlier_file(run, name):
    held = run.create()
    (held.path / name).write_text("earlier")
    with full_disk(3), pytest.raises(OSError, match=f"{name}: cannot be written: File too large"):
        held.write(name, "longer than three")
    assert (held.path / name).read_text() == "earlier"
    assert {file.name for file in held.path.iterdir()} == {name, "config.yaml"}
