"""``ssmbench suite search``, from the file to the table."""

from __future__ import annotations

import importlib.util
import json

import pytest
import yaml

from ssmbench.runs import execute as execution

SPACE = {"optimizer.lr": {"log": [0.001, 0.1]}, "model.norm": ["none", "layer"]}
SEARCH = {
    "trials": 4,
    "space": SPACE,
    "halving": {"budget": "trainer.max_epochs", "from": 1, "to": 2, "factor": 2},
}


@pytest.fixture
def suite(tiny_suite):
    """A suite of one cell and two seeds."""
    variants = {"S4D": tiny_suite["variants"]["S4D"]}
    return tiny_suite | {"variants": variants, "seeds": [0, 1], "launcher": "inline"}


def test_a_search_from_the_file_to_the_suite_of_the_best(ssmbench, write, suite, workplace):
    file = write("tuning.yaml", suite | {"search": SEARCH})
    plan = ssmbench("suite", "search", file, "--dry-run")
    assert plan.out.splitlines()[1].split() == ["digits/S4D-zoh", "4", "2"]
    assert "at most 6 runs" in plan.out
    assert not (workplace / "outputs").exists()

    done = ssmbench("suite", "search", file)
    assert done.code == 0, done.err
    assert "best validation accuracy" in done.out
    assert "test scores of trials are not reported" in done.out
    assert done.err.count("digits/S4D-zoh-trial") == 6

    again = ssmbench("suite", "search", file, "--json")
    assert (again.code, again.err.count("trial")) == (0, 0)  # nothing is executed again
    (cell,) = json.loads(again.out)["cells"]
    assert [len(rung) for rung in cell["rungs"]] == [4, 2]
    assert cell["best"]["budget"] == 2
    assert cell["spent"] == 4 * 1 + 2 * 2
    record = workplace / "outputs" / "small" / "search" / "search.json"
    assert json.loads(record.read_text())["cells"] == [cell]
    assert "test" not in record.read_text()

    best = record.with_name("best.yaml")
    assert str(best) in done.out
    assert yaml.safe_load(best.read_text())["overrides"][0]["set"]["trainer"] == {"max_epochs": 2}
    shared = ssmbench("suite", best, "--dry-run", "--json", "--output", workplace / "outputs/small")
    states = [run["state"] for run in json.loads(shared.out)["runs"]]
    assert states == ["finished", "missing"]  # the first seed is that of the search

    status = json.loads(ssmbench("suite", "status", record.parent, "--json").out)
    assert len(status["runs"]) == 6
    values = {trial["value"] for rung in cell["rungs"] for trial in rung}
    assert {run["score"] for run in status["runs"]} == values  # of the validation data
    report = ssmbench("report", record.parent)
    assert (report.code, report.err.count("a search has no report")) == (2, 1)


def refusal(answer):
    assert (answer.code, answer.out) == (2, "")
    (line,) = answer.err.splitlines()
    return line.removeprefix("error: ")


BAD_SPACES = {
    "an unknown option": ({"optimizer.lrr": [1]}, "digits/S4D-zoh: optimizer (adamw): lrr: Key"),
    "an unknown section": ({"modle.dropout": [0]}, "digits/S4D-zoh: modle: Key 'modle' not in"),
    "an end that is not allowed": (
        {"model.dropout": {"uniform": [0, 1.5]}},
        "digits/S4D-zoh: model.dropout: must be in [0, 1), got 1.5",
    ),
    "a name that is unknown": ({"model.norm": ["none", "bach"]}, "unknown norm 'bach'"),
    "a real number of sequences": ({"batch_size": {"uniform": [3, 4]}}, "batch_size: Value '3.0'"),
    "what cannot be built": ({"model.gamma": [-1.0]}, "digits/S4D-zoh: "),
}


@pytest.mark.parametrize("what", BAD_SPACES)
def test_a_space_that_no_run_takes_is_refused_before_anything_runs(
    what, ssmbench, write, suite, workplace
):
    space, problem = BAD_SPACES[what]
    file = write("tuning.yaml", suite | {"search": {"trials": 2, "space": space}})
    line = refusal(ssmbench("suite", "search", file))
    assert line.startswith(f"{file}: search: ")
    assert problem in line
    assert not (workplace / "outputs").exists()


def test_what_a_search_needs_is_said(ssmbench, write, suite, monkeypatch):
    file = write("tuning.yaml", suite)
    assert "search: is missing: which settings to try" in refusal(ssmbench("suite", "search", file))
    file = write("tuning.yaml", suite | {"search": SEARCH})
    for key in ("optimizer.lr", "trainer.max_epochs"):
        line = refusal(ssmbench("suite", "search", file, f"{key}=1"))
        assert line == f"override {key}: {file} searches it; change it there"
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "optuna" else found(name, *a)
    )
    line = refusal(ssmbench("suite", "search", file))
    assert line.endswith("search: needs the package optuna: pip install 'ssmbench[search]'")


def test_a_search_whose_runs_fail_says_so(ssmbench, write, suite, monkeypatch):
    monkeypatch.setattr(execution, "train", lambda *_: 1 / 0)
    search = {"sampler": "grid", "space": {"optimizer.lr": [0.1, 0.01]}}
    stale = write("outputs/small/search/best.yaml", suite)
    answer = ssmbench("suite", "search", write("tuning.yaml", suite | {"search": search}))
    assert answer.code == 1
    assert "no best settings" in answer.out
    assert not stale.exists()
    assert "runs without a result: 2 failed; the same command goes on with them" in answer.out
