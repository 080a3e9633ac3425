"""Launchers by name: in this process, from a plugin, and what they leave alone."""

from __future__ import annotations

import json

import pytest

from ssmbench import registry
from ssmbench.runs import execute as execution
from ssmbench.suite.grid import load_suite
from ssmbench.suite.session import run_suite

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
    assert again(force=True) == 0
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
    assert again(force=True) == 0


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
