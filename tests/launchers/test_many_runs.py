"""Many runs under injected faults, and that the comparison with undisturbed ones can fail."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from ssmbench import jsonio
from tests.tools import load_tool

pytestmark = pytest.mark.slow
RUNS = 16  # a thousand by the tool itself


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """The tool, the folder of its runs, and what it found."""
    tool, folder = load_tool("many_runs"), tmp_path_factory.mktemp("many")
    return tool, folder, tool.experiment(folder, RUNS, jobs=2, seed=0)


def test_many_runs_under_faults_equal_the_undisturbed_ones(experiment):
    _, folder, found = experiment
    log = (folder / "disturbed.log").read_text()
    assert found["problems"] == [], log[-4000:]
    assert sum(found["faults"].values()) >= RUNS // 4, found["faults"]
    assert "Traceback" not in log


def _damaged(folder: Path, name: str) -> tuple[Path, Path]:
    """A copy of one of the undisturbed runs in a suite of its own, to be damaged; the suite."""
    source = sorted((folder / "undisturbed" / "runs").iterdir())[0]
    for suite in ("original", "copy"):
        shutil.copytree(source, folder / name / suite / "runs" / source.name)
    return folder / name / "copy" / "runs" / source.name, folder / name


def _problems(tool, suites: Path) -> list[str]:
    return [
        problem.partition(": ")[2]
        for problem in tool.differences(suites / "copy", suites / "original")
    ]


def test_one_weight_that_differs_is_found(experiment):
    tool, folder, _ = experiment
    run, suites = _damaged(folder, "weight")
    file = run / "checkpoints" / "last.ckpt"
    state = torch.load(file, weights_only=True)
    weight = next(iter(state["state_dict"].values()))
    weight.view(-1)[0] = torch.nextafter(weight.view(-1)[0], torch.tensor(torch.inf))
    torch.save(state, file)
    assert _problems(tool, suites) == ["the weights of last.ckpt differ"]


def test_a_run_that_finished_twice_is_found(experiment):
    tool, folder, _ = experiment
    run, suites = _damaged(folder, "twice")
    metrics = run / "metrics.jsonl"
    with metrics.open("a") as file:
        file.write(metrics.read_text().splitlines()[-1] + "\n")
    assert "finished 2 times" in _problems(tool, suites)


def test_a_step_that_is_missing_is_found(experiment):
    tool, folder, _ = experiment
    run, suites = _damaged(folder, "step")
    metrics = run / "metrics.jsonl"
    lines = metrics.read_text().splitlines()
    (missing,) = [line for line in lines if jsonio.loads(line).get("step") == 5][:1]
    metrics.write_text("\n".join(line for line in lines if line != missing) + "\n")
    assert "train/loss differs" in _problems(tool, suites)


def test_a_run_without_a_result_is_found(experiment):
    tool, folder, _ = experiment
    run, suites = _damaged(folder, "result")
    (run / "result.json").unlink()
    assert _problems(tool, suites)[0].startswith("damaged")
