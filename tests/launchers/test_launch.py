"""Suites on disk: everything missing runs, once, and nothing that goes wrong stops the rest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ssmbench import jsonio, registry
from ssmbench.config import resolve
from ssmbench.launchers.process import LOG
from ssmbench.launchers.slots import default_jobs
from ssmbench.launchers.worker import execute_safely
from ssmbench.runs import execute as execution
from ssmbench.runs.execute import execute
from ssmbench.runs.folder import RunFolder
from ssmbench.runs.run import Run
from ssmbench.suite.grid import load_suite
from ssmbench.suite.session import missing
from tests.runs.results import complete


def metrics(folder: RunFolder) -> list[dict]:
    return [jsonio.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]


# --- what becomes of runs -----------------------------------------------------------------------


@pytest.mark.slow
def test_a_suite_with_failures_exits_with_1_and_prints_json_only(troubled):
    assert troubled.code == 1
    assert "Traceback" not in troubled.err
    assert {row["variant"] for row in jsonio.loads(troubled.out)["rows"]} == {
        "Good",
        "Killing",
        "Exiting",
        "Crashing",
        "Diverging",
        "Lying",
    }


def test_what_a_run_prints_goes_to_its_log(troubled):
    log = (troubled.run("Crashing").path / LOG).read_text()
    assert "noise on stdout" in log
    assert "noise on descriptor 1" in log
    assert "noise" not in troubled.err


def test_every_run_gets_a_plain_line_with_its_outcome(troubled):
    lines = [line for line in troubled.err.splitlines() if line.startswith("[")]
    assert [line[:5] for line in lines] == [f"[{k}/6]" for k in range(1, 7)]
    outcomes = dict(line.split("digits/")[1].split(": ", 1) for line in lines)
    assert outcomes["Good-zoh-s0"].startswith("accuracy 0.")
    died = "failed: its process ended with exit code 7 and recorded nothing; see output.log"
    assert outcomes["Killing-s0"] == died
    assert outcomes["Exiting-s0"] == "failed: code of this run called sys.exit(0)"
    assert outcomes["Crashing-s0"].startswith("failed: RuntimeError: planted crash (planted.py:")
    assert outcomes["Diverging-forward_euler-s0"] == "diverged at step 0"


def test_a_run_that_diverges_ends_with_its_step_and_is_complete(troubled):
    folder = troubled.run("Diverging")
    assert folder.state == "diverged"
    assert folder.is_complete
    assert (folder.result.diverged_at, folder.result.scores) == (0, None)
    assert folder.result.gain.spectral_radius > 1
    assert folder.result.robustness == ()
    assert folder.result.gain.verified == float("inf")


def test_a_run_that_crashes_keeps_its_traceback(troubled):
    folder = troubled.run("Crashing")
    text = (folder.path / "error.txt").read_text()
    assert folder.status["state"] == "failed"
    assert text.startswith("Traceback")
    assert "planted crash" in text
    assert "planted.py" in text
    assert folder.result is None


def test_a_run_that_kills_its_worker_fails_alone(troubled):
    reason = troubled.run("Killing").status["reason"]
    assert reason.startswith("its process ended with exit code 7")
    states = {name: troubled.run(name).state for name in ("Good", "Lying", "Diverging")}
    assert states == {"Good": "finished", "Lying": "finished", "Diverging": "diverged"}


def test_a_broken_declaration_is_a_violation_in_the_result(troubled):
    gain = troubled.run("Lying").result.gain
    assert (gain.declared, gain.verified) == (0.1, pytest.approx(1.0))
    assert gain.violations == ("layer 0: verified 1 > declared 0.1",)
    assert troubled.run("Good").result.gain.violations == ()


def test_a_finished_run_has_everything_in_its_folder(troubled):
    folder = troubled.run("Good")
    result = folder.result
    assert result.seconds > 0
    assert {point.kind for point in result.robustness} == {"random", "adversarial", "certified"}
    assert (folder.path / "worst_input.npz").exists()
    assert result.fingerprint == folder.path.name
    assert 0 <= result.scores.val <= 1
    assert {"torch", "ssmbench"} <= set(result.environment.packages)
    assert (result.environment.device, result.environment.measured_on) == ("cpu", "cpu")
    keys = {key for row in metrics(folder) for key in row}
    assert {"step", "train/loss", "val/accuracy", "test/accuracy", "layer0/verified_gain"} <= keys


def test_checkpoints_load_without_unpickling_code(troubled):
    checkpoints = sorted((troubled.run("Good").path / "checkpoints").glob("*.ckpt"))
    assert [file.stem for file in checkpoints] == ["best", "last"], "one epoch has no previous one"
    for file in checkpoints:
        state = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
        assert all(isinstance(value, torch.Tensor) for value in state.values())


# --- only what is missing -----------------------------------------------------------------------


def _files(root) -> dict[str, tuple[int, bytes]]:
    files = (f for f in (root / "runs").rglob("*") if f.is_file())
    return {str(f): (f.stat().st_mtime_ns, f.read_bytes()) for f in files}


def test_a_suite_runs_only_what_is_missing(write, tiny_suite, ssmbench, workplace):
    command = (
        "suite",
        write("suite.yaml", tiny_suite),
        "-o",
        "out",
        "--json",
        "--launcher",
        "inline",
    )
    first = ssmbench(*command)
    assert (first.code, len(jsonio.loads(first.out)["rows"])) == (0, 2)

    before = _files(workplace / "out")
    again = ssmbench(*command)
    assert again.code == 0
    assert "nothing to run" in again.err
    assert _files(workplace / "out") == before

    one, other = sorted((workplace / "out" / "runs").iterdir())
    (one / "result.json").unlink()
    third = ssmbench(*command)
    after = _files(workplace / "out")
    assert "[1/1]" in third.err
    assert (one / "result.json").exists()
    assert {f: c for f, c in after.items() if str(other) in f} == {
        f: c for f, c in before.items() if str(other) in f
    }


def test_a_dry_run_runs_nothing(write, tiny_suite, ssmbench, workplace):
    file = write("suite.yaml", tiny_suite)
    answer = ssmbench("suite", file, "--dry-run", "--json", "-o", "out")
    runs = jsonio.loads(answer.out)["runs"]
    assert [run["label"] for run in runs] == ["digits/S4D-zoh-s0", "digits/L2RU-s0"]
    assert {run["state"] for run in runs} == {"missing"}
    plain = ssmbench("suite", file, "--dry-run", "-o", "out")
    assert "2 runs, 0 complete" in plain.out
    assert list(workplace.iterdir()) == [file]


def test_runs_that_are_alike_are_executed_once(write, tiny_suite, workplace):
    tiny_suite["variants"]["Copy"] = tiny_suite["variants"]["L2RU"]
    runs = missing(load_suite(write("suite.yaml", tiny_suite)).runs(workplace))
    assert [run.label for run in runs] == ["digits/S4D-zoh-s0", "digits/L2RU-s0"]


def test_a_suite_in_which_every_run_fails_still_reports(write, tiny_suite, ssmbench):
    write("plugins/broken.py", BROKEN_AT_FIRST.format(name="broken", flag="never"))
    tiny_suite["variants"] = {"Broken": {"model": {"parametrization": "l2ru"}}}
    tiny_suite["base"]["model"]["nonlinearity"] = "broken"
    answer = ssmbench(
        "suite", write("suite.yaml", tiny_suite), "-o", "out", "--json", "--launcher", "inline"
    )
    (row,) = jsonio.loads(answer.out)["rows"]
    assert (answer.code, row["failed"], row["outcome"]) == (1, 1, "failed")


# --- resuming -----------------------------------------------------------------------------------

BROKEN_AT_FIRST = '''
import os

from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.registry import nonlinearities

calls = []


@nonlinearities.register("{name}")
class Broken(Nonlinearity):
    """Raises at its fourth batch, until a file is there."""

    lipschitz = 1.0

    def forward(self, x):
        if len(x) > 2:  # up to two sequences are for the estimate of the memory
            calls.append(None)
        if len(calls) > 3 and not os.path.exists("{flag}"):
            raise RuntimeError("planted crash")
        return x
'''


def test_metrics_over_a_resume_have_every_step_once(write, tiny, workplace):
    write("plugins/broken.py", BROKEN_AT_FIRST.format(name="broken", flag="mended"))
    tiny["model"]["nonlinearity"] = "broken"
    tiny["trainer"]["max_epochs"] = 3
    config = resolve(tiny)
    folder = Run.of(config, workplace).create()
    assert execute(Run.of(config, workplace)) == "failed"
    before = (folder.path / "metrics.jsonl").read_text()
    write("mended", "")
    assert execute(Run.of(config, workplace)) == "finished"
    after = (folder.path / "metrics.jsonl").read_text()
    assert after.startswith(before[: before.index('{"step": 1, "train/loss"')])
    steps = [row["step"] for row in metrics(folder) if "train/loss" in row]
    assert steps == [0, 1, 2]
    assert folder.result.steps == 3


def test_a_result_that_cannot_be_written_is_a_failed_run(tiny, workplace, monkeypatch):
    monkeypatch.setattr(execution, "environment", lambda *_: {"cannot": {1, 2}})
    config = resolve(tiny)
    assert execute(Run.of(config, workplace)) == "failed"
    folder = Run.of(config, workplace).create()
    assert "a set cannot be written as JSON" in folder.status["reason"]
    assert folder.result is None


# --- side by side -------------------------------------------------------------------------------


def test_a_run_that_another_process_holds_is_left_to_it(tiny, workplace, monkeypatch):
    monkeypatch.setattr(execution, "train", lambda *_: pytest.fail("it was trained"))
    config = resolve(tiny)
    with Run.of(config, workplace).create().lock():
        assert execute(Run.of(config, workplace)) == "running"


def test_a_run_that_another_process_completed_meanwhile_is_left_alone(tiny, workplace, monkeypatch):
    config = resolve(tiny)
    folder = Run.of(config, workplace).create()
    take_lock = RunFolder.lock

    def complete_then_lock(self, **options):
        complete(folder)
        return take_lock(self, **options)

    monkeypatch.setattr(RunFolder, "lock", complete_then_lock)
    monkeypatch.setattr(execution, "train", lambda *_: pytest.fail("it was trained again"))
    assert execute(Run.of(config, workplace)) == "finished"


@pytest.mark.slow
def test_two_launchers_on_one_suite_execute_every_run_once(write, tiny_suite, workplace):
    tiny_suite["base"]["trainer"] |= {"max_epochs": 5, "limit_train_batches": 4}
    write("suite.yaml", tiny_suite)
    command = [sys.executable, "-m", "ssmbench", "suite", "suite.yaml", "--output", "out"]
    command += ["--launcher", "inline"]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    launchers = [subprocess.Popen(command, cwd=workplace, **silent) for _ in range(2)]
    answers = [launcher.communicate()[1] for launcher in launchers]
    for launcher, said in zip(launchers, answers, strict=True):
        held = "executed by other processes" in said  # it does not wait for what the other one has
        assert launcher.returncode == held, said
    folders = [RunFolder(path) for path in (workplace / "out" / "runs").iterdir()]
    assert [folder.state for folder in folders] == ["finished", "finished"]
    for folder in folders:
        rows = metrics(folder)
        assert sum("test/accuracy" in row for row in rows) == 1
        assert [row["step"] for row in rows if "train/loss" in row] == list(range(20))


LOADS_NOTHING = '''
from ssmbench.registry import tasks
from ssmbench.tasks.digits import Digits, DigitsConfig


@tasks.register("mine", config=DigitsConfig)
class Mine(Digits):
    """Loads nothing."""

    def load(self):
        raise RuntimeError("planted")
'''


def test_a_crash_before_training_names_the_line_of_the_plugin(write, tiny, workplace):
    write("plugins/mine.py", LOADS_NOTHING)
    run = Run.of(resolve(tiny | {"task": "mine"}), workplace / "out")
    run.create()
    assert execute_safely(run) == "failed"
    assert "RuntimeError: planted (plugins/mine.py:11 in load; full" in run.folder.reason
    assert "planted" in (run.folder.path / "error.txt").read_text()


@pytest.mark.parametrize(
    ("trainer", "alone"),
    [
        ({}, True),  # Lightning then takes what the machine has
        ({"devices": 1}, False),
        ({"devices": "1"}, False),
        ({"devices": 2}, True),
        ({"devices": "auto"}, True),
        ({"num_nodes": 2}, True),
    ],
)
def test_runs_on_several_devices_run_alone(trainer, alone):
    assert Run({"trainer": trainer}, RunFolder(Path("any"))).is_distributed == alone


def test_there_is_always_at_least_one_job():
    assert 1 <= default_jobs() <= 8


def test_worker_processes_inherit_plugins_that_were_named(write):
    file = write("elsewhere/mine.py", "")
    registry.add_plugin_paths([file])
    assert os.environ[registry.PLUGINS_VARIABLE].split(os.pathsep) == [str(file)]
