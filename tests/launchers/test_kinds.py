"""Launchers by name: in this process, from a plugin, and what they leave alone."""

from __future__ import annotations

import json

import pytest
import yaml

from ssmbench import registry
from ssmbench.errors import UsageError
from ssmbench.runs import execute as execution
from ssmbench.suite.grid import load_suite
from ssmbench.suite.launcher import read_launcher
from ssmbench.suite.session import build_launcher, run_suite

BACKWARDS = '''
"""A launcher of one's own."""

from ssmbench.launchers.base import Launcher
from ssmbench.launchers.worker import execute_safely
from ssmbench.registry import launchers


@launchers.register("backwards")
class Backwards(Launcher):
    """The last run first."""

    def launch(self, runs, jobs=None):
        for run in reversed(runs):
            yield run, execute_safely(run)
'''


def test_a_launcher_of_one_file_is_chosen_by_the_suite(write, tiny_suite, workplace, capsys):
    write("plugins/backwards.py", BACKWARDS)
    suite = load_suite(write("suite.yaml", tiny_suite | {"launcher": "backwards"}))
    assert run_suite(suite, workplace / "out") == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("[")]
    assert ["L2RU" in line for line in lines] == [True, False]
    assert "backwards" in registry.launchers.names()


@pytest.fixture
def run(write, tiny_suite, workplace):
    """The only run of a suite, executed in this process."""
    del tiny_suite["variants"]["S4D"]
    suite = load_suite(write("suite.yaml", tiny_suite))
    (planned,) = suite.runs(workplace)
    assert run_suite(suite, workplace, "inline") == 0
    return planned


@pytest.fixture
def again(run, workplace):
    """Run the suite again."""
    suite = load_suite(workplace / "suite.yaml")
    return lambda **options: run_suite(suite, workplace, "inline", **options)


def test_force_runs_what_is_complete_again(run, again, monkeypatch):
    trained = []
    train = execution.train
    monkeypatch.setattr(execution, "train", lambda *a: trained.append(a) or train(*a))
    assert again() == 0
    assert trained == []
    assert again(redo="all") == 0
    assert len(trained) == 1
    assert run.folder.state == "finished"


@pytest.mark.parametrize(("schema", "way_out"), [(1, "--force"), (99, "update ssmbench")])
def test_a_result_of_another_schema_is_refused_and_kept(run, again, capsys, schema, way_out):
    file = run.folder.path / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema": schema}))
    before = file.read_bytes()
    assert run.folder.state == "unreadable"
    for _ in range(2):
        assert again() == 1
        assert "unreadable: result.json: written by a" in capsys.readouterr().err
    assert way_out in run.folder.reason
    assert file.read_bytes() == before
    assert again(redo="all") == 0


def test_an_exception_reaches_a_debugger_where_that_is_asked_for(run, monkeypatch):
    monkeypatch.setattr(execution, "train", lambda *_: 1 / 0)
    assert run.reset()
    launcher = registry.launchers.get("inline")
    launch = launcher.build(launcher.config(raise_errors=True)).launch([run])
    with pytest.raises(ZeroDivisionError):
        list(launch)
    assert run.folder.state == "failed"
    assert [state for _, state in launcher.build().launch([run])] == ["failed"]


@pytest.mark.parametrize("dry", [True, False])
def test_an_unknown_launcher_is_refused_before_anything_is_written(
    write, tiny_suite, workplace, ssmbench, dry
):
    write("suite.yaml", tiny_suite)
    arguments = ["suite", "suite.yaml", "--output", "out", "--launcher", "inlin"]
    answer = ssmbench(*arguments, *(["--dry-run"] if dry else []))
    assert answer.code == 2
    assert answer.err == "error: unknown launcher 'inlin': did you mean 'inline'?\n"
    assert not (workplace / "out").exists()


def test_a_launcher_is_a_name_a_mapping_or_a_file(write, tiny_suite, workplace):
    write("here/cluster.yaml", {"name": "local", "jobs": 3})
    suite = load_suite(write("here/suite.yaml", tiny_suite | {"launcher": "cluster.yaml"}))
    assert suite.launcher["jobs"] == 3, "the file is beside the suite's"
    write("cluster.yaml", {"name": "local", "grace": 5})
    for given, option, value in (
        ("local", "jobs", None),
        ("{name: local, runs_per_gpu: 4}", "runs_per_gpu", 4),
        ({"name": "local", "jobs": 2}, "jobs", 2),
        ("cluster.yaml", "grace", 5.0),
    ):
        assert getattr(build_launcher(suite, given).config, option) == value
    with pytest.raises(UsageError, match=r"nowhere\.yaml: no such file"):
        build_launcher(suite, "nowhere.yaml")
    with pytest.raises(UsageError, match=r"launcher \(local\).*job"):
        build_launcher(suite, "{name: local, job: 2}")


def test_the_bundled_settings_of_slurm_are_the_defaults(root):
    given = read_launcher("slurm.yaml", "launcher")
    assert given == read_launcher("slurm", "launcher")
    listed = yaml.safe_load((root / "configs" / "launchers" / "slurm.yaml").read_text())
    assert set(listed) == set(given), "every option is shown"
