"""Damaged, truncated and missing checkpoints: a run goes on from the newest good one."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from ssmbench import files
from ssmbench.runs.execute import execute
from ssmbench.runs.run import Run
from ssmbench.training.checkpoints import BEST, FOLDER, LAST, NEXT, PREVIOUS
from ssmbench.training.last_checkpoint import LastCheckpoint
from tests.training.runs import rows
from tests.training.test_interruption import TASK, assert_same, executed, passes

__all__ = ["passes"]  # a fixture

NAMES = [LAST, PREVIOUS, BEST]


@pytest.fixture
def interrupted(mortal, tmp_path, monkeypatch, once):
    """A run that crashed in its third epoch, and what it should have become."""
    config = mortal(task=TASK, trainer={"max_epochs": 3})
    _, root = once(executed, config)
    monkeypatch.setenv("TOY_DIE_AT", "20")
    run = Run.of(config, tmp_path)
    assert execute(run) == "failed"
    monkeypatch.delenv("TOY_DIE_AT")
    return run, Run.of(config, root).folder


def truncate(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size // 2)


@pytest.mark.parametrize("damaged", [1, 2, 3])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(interrupted, passes, capsys, damaged):
    """To the second epoch's end, to its best weights, to the start."""
    run, expected = interrupted
    for name in NAMES[:damaged]:
        truncate(run.folder.path / FOLDER / name)
    passes.clear()
    capsys.readouterr()
    assert execute(run) == "finished"
    warned = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    remedies = [f"goes on from {name} instead, at step" for name in NAMES[1:]] + ["starts again"]
    assert len(warned) == damaged
    for name, line in zip(NAMES, warned, strict=False):
        assert f"{FOLDER}/{name}: not a checkpoint" in line
        assert remedies[damaged - 1] in line
    assert passes[0] == [(1, 0), (2, 0), (0, 0)][damaged - 1]
    assert_same(run.folder, expected)


def test_a_run_killed_right_after_its_first_validation_goes_on_from_its_best_weights(
    mortal, tmp_path, monkeypatch, once, passes
):
    config = mortal(task=TASK, trainer={"max_epochs": 3})
    _, root = once(executed, config)
    run = Run.of(config, tmp_path)

    def killed(*_):
        raise RuntimeError("killed by the test")

    with monkeypatch.context() as patch:
        patch.setattr(LastCheckpoint, "on_train_epoch_end", killed)
        assert execute(run) == "failed"
    assert [p.name for p in (run.folder.path / FOLDER).iterdir()] == [BEST]
    passes.clear()
    assert execute(run) == "finished"
    assert passes[0] == (1, 0)
    assert_same(run.folder, Run.of(config, root).folder)


def kill_while_saving(run: Run, renaming: int, half: bool) -> None:
    """Execute a run in this process, which is killed before it renames a file for the n-th time in
    its folder of checkpoints; or while it writes it, when half of it is written."""
    count, rename, write = 0, Path.replace, files._write

    def replace(self, target):
        nonlocal count
        if self.parent.name == FOLDER:
            count += 1
            if count == renaming and not half:
                os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, target)

    def written(file, data, durable):
        if half and file.parent.name == FOLDER and count + 1 == renaming:
            write(file, data[: len(data) // 2], durable)
            os.kill(os.getpid(), signal.SIGKILL)
        write(file, data, durable)

    Path.replace, files._write = replace, written
    execute(run)


@pytest.mark.parametrize(
    ("renaming", "half"), [(8, True), (8, False), (9, True), (9, False), (10, False), (11, False)]
)
def test_nothing_is_lost_where_a_run_is_killed_while_it_saves(
    mortal, tmp_path, monkeypatch, once, renaming, half
):
    """In the second and the third epoch: best.ckpt, next.ckpt, last.ckpt and previous.ckpt."""
    config = mortal(task=TASK, trainer={"max_epochs": 3, "val_check_interval": 0.5})
    _, root = once(executed, config)
    run = Run.of(config, tmp_path)
    child = multiprocessing.get_context("fork").Process(
        target=kill_while_saving, args=(run, renaming, half)
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert run.folder.state == "interrupted"
    written = len(rows(run.folder.path))
    assert written >= 8
    assert execute(run) == "finished"
    assert_same(run.folder, Run.of(config, root).folder)
    assert not list((run.folder.path / FOLDER).glob(".*")), "drafts are deleted"


@pytest.mark.parametrize("half", [False, True])
def test_a_run_killed_before_its_final_checkpoint_is_renamed_has_it_in_the_end(
    mortal, tmp_path, monkeypatch, once, half
):
    """Where next.ckpt is the final one, and last.ckpt that of the epoch before, or missing."""
    config = mortal(task=TASK, trainer={"max_epochs": 3})
    _, root = once(executed, config)
    run, saved, promote = Run.of(config, tmp_path), [], LastCheckpoint._promote_next

    def killed(self):
        saved.append(1)
        if len(saved) == 3:
            if half:
                self._last.replace(self._previous)
            raise RuntimeError("killed by the test")
        promote(self)

    with monkeypatch.context() as patch:
        patch.setattr(LastCheckpoint, "_promote_next", killed)
        assert execute(run) == "failed"
    assert (run.folder.path / FOLDER / NEXT).exists()
    assert execute(run) == "finished"
    assert_same(run.folder, Run.of(config, root).folder)
    left = sorted(path.name for path in (run.folder.path / FOLDER).iterdir())
    assert left == [BEST, LAST, PREVIOUS]


@pytest.fixture
def full_disk(monkeypatch):
    """From a step on, checkpoints find room for half of themselves only while ``previous`` is
    there, or always."""

    def fill(steps: int, needed: bool) -> None:
        write, save, taken = files._write, LastCheckpoint._save, []

        def written(file, data, durable):
            full = not needed or (file.parent / PREVIOUS).exists()
            if taken and file.parent.name == FOLDER and full:
                write(file, data[: len(data) // 2], durable)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            write(file, data, durable)

        def counted(self, trainer):
            taken.extend([1] if trainer.global_step >= steps else [])
            save(self, trainer)

        monkeypatch.setattr(files, "_write", written)
        monkeypatch.setattr(LastCheckpoint, "_save", counted)

    return fill


def test_a_full_disk_fails_a_run_in_a_line_and_keeps_its_last_checkpoint(
    mortal, tmp_path, monkeypatch, once, full_disk
):
    config = mortal(task=TASK, trainer={"max_epochs": 3})
    _, root = once(executed, config)
    run = Run.of(config, tmp_path)
    full_disk(24, needed=False)
    assert execute(run) == "failed"
    assert "next.ckpt: cannot be written: No space left on device" in run.folder.reason
    kept = [BEST, LAST]
    assert sorted(p.name for p in (run.folder.path / FOLDER).iterdir()) == kept
    monkeypatch.undo()
    assert execute(run) == "finished"
    assert_same(run.folder, Run.of(config, root).folder)


def test_the_older_checkpoint_makes_room_for_a_new_one(mortal, tmp_path, once, full_disk):
    config = mortal(task=TASK, trainer={"max_epochs": 3})
    _, root = once(executed, config)
    full_disk(16, needed=True)
    run = Run.of(config, tmp_path)
    assert execute(run) == "finished"
    assert_same(run.folder, Run.of(config, root).folder)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if (
        not shutil.which("mount")
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_disk_without_room_for_anything(mortal, small_disk, monkeypatch, once, capsys):
    """Not even for the state of the run."""
    config, save = mortal(task=TASK, trainer={"max_epochs": 3}), LastCheckpoint._save
    _, root = once(executed, config)
    run, ballast = Run.of(config, small_disk), small_disk / "ballast"

    def filled(self, trainer):
        if trainer.global_step >= 24:
            with suppress(OSError), ballast.open("ab", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
        save(self, trainer)

    with monkeypatch.context() as patch:
        patch.setattr(LastCheckpoint, "_save", filled)
        state = execute(run)
    assert state == "failed"
    assert "No space left on device" in capsys.readouterr().err + run.folder.reason
    ballast.unlink()
    assert execute(run) == "finished"
    assert_same(run.folder, Run.of(config, root).folder)
