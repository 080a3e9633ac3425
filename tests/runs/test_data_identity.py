"""Other data are another run, wherever they are named; a result says which data it saw."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

from ssmbench.build.task import build_task
from ssmbench.config import fingerprint, resolve, typed
from ssmbench.errors import UsageError
from ssmbench.runs.execute import execute
from ssmbench.runs.run import Run
from ssmbench.tasks.data import DATA_VARIABLE
from ssmbench.tasks.sysid.cascaded_tanks import COLUMNS, FILES
from ssmbench.tasks.sysid.tanks_simulation import SAMPLES
from tests.training.runs import train

TANKS = {"name": "cascaded_tanks", "window": 64, "stride": 64, "washout": 4}


@pytest.fixture
def data(workplace):
    """``data(name, scale)``: a folder with made-up records, the levels ``scale`` times as high."""

    def make(name: str, scale: float):
        signals = np.random.default_rng(0).random((SAMPLES, len(COLUMNS)))
        signals[:, [1, 3]] *= scale
        file = workplace / name / FILES[0]
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(file, signals, delimiter=",", header=",".join(COLUMNS), comments="", fmt="%.9e")
        return workplace / name

    return make


@pytest.fixture
def config(tiny, write, data):
    """A run config's file; its task reads the data folder."""
    tiny |= {"batch_size": 2, "task": TANKS}
    return write("run.yaml", tiny)


def scores(answer) -> float:
    assert answer.code == 0, answer.err
    return json.loads(answer.out)["scores"]["test"]


def test_the_result_of_one_file_is_not_returned_for_another(ssmbench, config, data, monkeypatch):
    """Levels a hundred times as high have an RMSE about a hundred times as large."""
    command = ("run", config, "-o", "out", "--json")
    first = scores(ssmbench(*command, f"task.data_dir={data('a', 1.0)}"))
    other = scores(ssmbench(*command, f"task.data_dir={data('b', 100.0)}"))
    assert 50 < other / first < 200
    monkeypatch.setenv(DATA_VARIABLE, str(data("a", 1.0)))
    assert scores(ssmbench(*command)) == first
    data("a", 100.0)
    assert scores(ssmbench(*command)) == other, "the same content is the same run"
    assert len(list((config.parent / "out").iterdir())) == 2


def test_the_place_and_the_time_of_the_data_are_no_part_of_the_name(config, data, workplace):
    def name(folder) -> str:
        return fingerprint(resolve({"task": TANKS | {"data_dir": str(folder)}}))

    one = name(data("a", 1.0))
    shutil.copytree(workplace / "a", workplace / "copy")
    os.utime(workplace / "copy" / FILES[0], ns=(1, 1))
    assert name(workplace / "copy") == one
    assert name(data("a", 2.0)) != one


def test_a_file_of_equal_size_and_time_is_told_apart(data):
    folder = data("a", 1.0)
    file = folder / FILES[0]
    before = file.stat()
    options = {"task": TANKS | {"data_dir": str(folder)}}
    one = resolve(options)["data_digest"]
    data("a", 1.5)
    assert file.stat().st_size == before.st_size
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert resolve(options)["data_digest"] != one


def test_the_result_says_which_data_it_saw(tiny, data, workplace):
    config = resolve(tiny | {"batch_size": 2, "task": TANKS | {"data_dir": str(data("a", 1.0))}})
    assert execute(Run.of(config, workplace / "out")) == "finished"
    result = Run.of(config, workplace / "out").folder.result
    assert result.task.data_digest == config["data_digest"] != ""
    assert build_task(typed(config)).data_digest == config["data_digest"]


def test_data_that_change_before_they_are_read_are_refused(tiny, data, tmp_path):
    folder = data("a", 1.0)
    config = resolve(tiny | {"batch_size": 2, "task": TANKS | {"data_dir": str(folder)}})
    data("a", 3.0)
    with pytest.raises(UsageError, match=config["data_digest"]):
        train(config, tmp_path / "run")


def test_a_run_is_not_attacked_on_other_data(ssmbench, config, data, monkeypatch):
    monkeypatch.setenv(DATA_VARIABLE, str(data("a", 1.0)))
    answer = ssmbench("run", config, "-o", "out", "--json")
    folder = json.loads(answer.out)["folder"]
    assert ssmbench("gain", folder, "--attack", "--json").code == 0
    data("a", 2.0)
    refused = ssmbench("gain", folder, "--attack", "--json")
    assert refused.code == 2
    assert "provide the original data" in refused.err
    again = ssmbench("run", folder + "/config.yaml", "-o", "out")
    assert again.code == 2
    assert "leave data_digest out" in again.err


def test_missing_data_are_one_line_and_no_folder(ssmbench, write, tiny, workplace):
    file = write("run.yaml", tiny | {"task": "mnist"})
    answer = ssmbench("run", file, "-o", "out")
    assert (answer.code, len(answer.err.splitlines())) == (2, 1)
    assert "needs a data folder" in answer.err
    assert not (workplace / "out").exists()


def test_a_dry_run_names_the_folders_that_the_runs_get(ssmbench, write, tiny_suite, data):
    tiny_suite["tasks"] = {"tanks": {"task": TANKS | {"data_dir": str(data("a", 1.0))}}}
    file = write("suite.yaml", tiny_suite)
    runs = json.loads(ssmbench("suite", file, "--dry-run", "--json").out)["runs"]
    for run in runs:
        assert run["fingerprint"] == fingerprint(resolve(run["config"])), "as another rank has it"


def test_generated_tasks_have_a_digest_of_options_and_version(tiny, monkeypatch):
    one = resolve(tiny)
    assert one["data_digest"] == resolve(tiny)["data_digest"] != ""
    other = resolve(tiny | {"task": {"name": "digits", "split_seed": 1}})
    task = build_task(typed(one))
    monkeypatch.setattr(type(task), "data_version", 2)
    assert len({one["data_digest"], other["data_digest"], task.data_digest}) == 3
