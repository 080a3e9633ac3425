"""Cached arrays: made once, checked when they are read, made again where they are damaged."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from ssmbench.tasks.cache import CACHE_VARIABLE, cache_folder, cached_arrays

SETTINGS = {"length": 8, "version": 1}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


class Maker:
    """Counts how often the arrays are made."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"u": np.arange(6.0).reshape(2, 3), "target": np.array([1, 2])}


def test_made_once_and_read_without_copying():
    make = Maker()
    for _ in range(3):
        arrays = cached_arrays("task", SETTINGS, make)
        np.testing.assert_array_equal(arrays["u"], np.arange(6.0).reshape(2, 3))
        assert isinstance(arrays["u"], np.memmap)
        assert not arrays["u"].flags.writeable
    assert make.calls == 1


def test_other_settings_are_another_entry():
    make = Maker()
    for length in (8, 16, 8):
        cached_arrays("task", {**SETTINGS, "length": length}, make)
    assert make.calls == 2


@pytest.mark.parametrize("damage", ["content", "missing", "index"])
def test_a_damaged_entry_is_made_again(folder, damage, capsys):
    make = Maker()
    cached_arrays("task", SETTINGS, make)
    (file,) = folder.glob("task/*/u.npy")
    if damage == "content":
        raw = bytearray(file.read_bytes())
        raw[-1] ^= 1
        file.write_bytes(raw)
    elif damage == "missing":
        file.unlink()
    else:
        (file.parent / "entry.json").write_text("[]")
    again = cached_arrays("task", SETTINGS, make)
    assert make.calls == 2
    np.testing.assert_array_equal(again["u"], np.arange(6.0).reshape(2, 3))
    assert "damaged" in capsys.readouterr().err


def test_a_failure_leaves_nothing_behind(folder):
    with pytest.raises(ZeroDivisionError):
        cached_arrays("task", SETTINGS, lambda: {"u": np.array(1 // 0)})
    assert [path.suffix for path in folder.glob("task/*")] == [".lock"]


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    arrays = cached_arrays("task", SETTINGS, Maker())
    np.testing.assert_array_equal(arrays["target"], [1, 2])
    assert CACHE_VARIABLE in capsys.readouterr().err


def test_a_full_disk_does_not_cost_what_was_made(monkeypatch, capsys):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    make = Maker()
    np.testing.assert_array_equal(cached_arrays("task", SETTINGS, make)["target"], [1, 2])
    assert make.calls == 1
    assert "No space left" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_no_fault_of_the_cache(capsys):
    def unreadable():
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        cached_arrays("task", SETTINGS, unreadable)
    assert capsys.readouterr().err == ""


def _count_in(log):
    def make():
        with Path(log).open("a") as file:
            file.write("made\n")
        return Maker()()

    cached_arrays("task", SETTINGS, make)


def test_processes_that_start_together_make_it_once(tmp_path):
    log = tmp_path / "log"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_count_in, args=(str(log),)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert log.read_text() == "made\n"


def test_an_entry_that_another_machine_made_meanwhile_stays(folder, monkeypatch, capsys):
    """Where locks do not reach it: it may be in use there already."""
    monkeypatch.setattr("ssmbench.tasks.cache.fcntl.flock", lambda *_: None)
    others = {}

    def make():
        others.update(cached_arrays("task", SETTINGS, Maker()))
        return {"u": np.zeros((2, 3)), "target": np.zeros(2)}

    mine = cached_arrays("task", SETTINGS, make)
    np.testing.assert_array_equal(mine["u"], others["u"])
    assert len([path for path in (folder / "task").iterdir() if path.is_dir()]) == 1
    assert capsys.readouterr().err == ""


def test_the_default_place(monkeypatch):
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/ssmbench")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("~/.cache/ssmbench").expanduser()
