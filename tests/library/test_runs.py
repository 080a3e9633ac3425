"""Runs and suites by the library: trained, read again, attacked, reported on."""

from __future__ import annotations

import json

import pytest
import torch

import ssmbench as sb
from ssmbench.nn.nonlinearities.base import Nonlinearity
from tests.library.test_library import sentence


@pytest.fixture
def trained(workplace, tiny):
    """A run of one step."""
    return sb.train(tiny, progress=False)


def test_a_run_gives_what_its_folder_holds(trained, workplace, capfd):
    assert trained.state == "finished"
    assert trained.folder.parent == workplace / "outputs" / "runs"
    stored = json.loads((trained.folder / "result.json").read_text())
    assert trained.scores.test == stored["scores"]["test"]
    assert trained.gains.verified == stored["gain"]["verified"]
    assert trained.gains.network.bound == stored["gain"]["network"]["bound"]
    assert trained.config["model"]["parametrization"]["name"] == "s4d"
    assert trained.model(torch.zeros(1, 64, 1)).shape == (1, 10)
    assert trained.task.metric if hasattr(trained.task, "metric") else trained.task.score
    assert str(trained).startswith("Run s4d: finished\n")
    assert f"  folder           outputs/runs/{trained.folder.name}\n" in str(trained)
    assert "gain verified" in str(trained)
    assert capfd.readouterr().out == ""


def test_the_same_call_finds_the_run_and_says_so(trained, tiny, capfd):
    time = (trained.folder / "result.json").stat().st_mtime_ns
    again = sb.train(tiny)
    assert again.folder == trained.folder
    assert capfd.readouterr().err == "s4d: already complete, nothing to do (force runs it again)\n"
    assert (again.folder / "result.json").stat().st_mtime_ns == time
    anew = sb.train(tiny, force=True, progress=False)
    assert (anew.folder / "result.json").stat().st_mtime_ns > time
    assert anew.scores == trained.scores


def test_a_run_is_loaded_and_attacked(trained):
    again = sb.load(trained.folder)
    assert again.gains == trained.gains
    pairs = zip(again.model.parameters(), trained.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    for run in (again, str(again.folder)):
        found = sb.attack(run, steps=2, restarts=2, seed=1)
        assert found.gain.verified == trained.gains.verified
        assert (found.attack_steps, found.attack_seed) == (2, 1)


def test_a_run_that_fails_raises_and_keeps_its_reason(workplace, tiny):
    @sb.register.nonlinearity("raises")
    class Raises(Nonlinearity):
        def forward(self, x):
            raise RuntimeError("planted crash")

    tiny["model"]["nonlinearity"] = "raises"
    with pytest.raises(sb.IncompleteRunError, match=r"is failed: .*planted crash") as caught:
        sb.train(tiny, progress=False)
    run = caught.value.run
    assert "planted crash" in run.reason
    assert "planted crash" in str(run)
    with pytest.raises(sb.SsmbenchError, match="planted crash"):
        _ = run.scores


def test_a_run_that_diverges_is_a_result(workplace, tiny):
    tiny["model"] |= {
        "parametrization": {"name": "s4d", "d_state": 4, "dt_min": 5.0, "dt_max": 5.0},
        "discretizer": "forward_euler",
    }
    run = sb.train(tiny, progress=False)
    assert (run.state, run.scores, run.result.diverged_at) == ("diverged", None, 0)
    assert str(run).startswith("Run s4d: diverged\n")


BAD_RUNS = {
    "config": (lambda: sb.train("digits_s4"), "did you mean 'digits_s4d'"),
    "option": (lambda: sb.train("digits_s4d", {"modle.x": 1}), "modle"),
    "trainer": (lambda: sb.train({"trainer": {"max_epoch": 1}}), "did you mean 'max_epochs'"),
    "output": (lambda: sb.train("digits_s4d", output="~nosuchuser/x"), "there is no such user"),
    "no folder": (lambda: sb.load("nowhere"), "nowhere: no such folder"),
    "no run": (lambda: sb.load("."), "not the folder of a run (it has no config.yaml)"),
    "no attack": (lambda: sb.attack("."), "not the folder of a run"),
    "steps": (lambda: sb.attack(".", steps=0), "steps: must be positive, got 0"),
    "whole steps": (lambda: sb.attack(".", steps=2.5), "steps: must be a whole number, got 2.5"),
    "seed": (lambda: sb.attack(".", seed=-1), "seed: must be from 0 to 2^32 - 1, got -1"),
    "suite": (lambda: sb.run_suite("quikstart"), "did you mean 'quickstart'"),
    "suite's kind": (lambda: sb.run_suite({}), "must be a path or a bundled suite's name, got {}"),
    "suite's override": (lambda: sb.run_suite("quickstart", {"seed": 1}), "sets it for each run"),
    "launcher": (
        lambda: sb.run_suite("quickstart", launcher="lokal"),
        "unknown launcher 'lokal': did you mean 'local'",
    ),
    "jobs": (lambda: sb.run_suite("quickstart", jobs=0), "jobs: must be at least 1, got 0"),
    "report": (lambda: sb.write_report("."), "no suite was run there"),
}


@pytest.mark.parametrize("what", BAD_RUNS)
def test_what_cannot_be_run_is_one_sentence(what, workplace):
    call, message = BAD_RUNS[what]
    assert message in sentence(call)
    assert not list(workplace.rglob("status.json"))


def test_a_suite_runs_what_is_missing_and_gives_its_rows(workplace, write, tiny_suite, capfd):
    file = write("small.yaml", tiny_suite)
    report = sb.run_suite(file, {"trainer.max_epochs": 1}, launcher="inline")
    assert report.failed == 0
    assert {row.variant for row in report.rows} == {"S4D", "L2RU"}
    assert report.folder == workplace / "outputs" / "small"
    assert report.files["markdown"].exists()
    assert str(report) == "Report of 2 rows: outputs/small/report/report.md"
    assert capfd.readouterr().out == ""
    again = sb.write_report(report.folder)
    assert (again.rows, again.robustness) == (report.rows, report.robustness)
