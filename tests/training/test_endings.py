"""Runs that end before they are complete: out of time, or asked to stop; both can be resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import yaml

from ssmbench.config import fingerprint, merge
from ssmbench.errors import InterruptedRunError
from ssmbench.runs import execute as execution
from ssmbench.runs.execute import execute
from ssmbench.runs.folder import RunFolder
from ssmbench.runs.run import Run
from ssmbench.training.checkpoints import FOLDER, LAST
from ssmbench.training.module import SequenceModule
from ssmbench.training.time_limits import TimeLimit
from tests.training.runs import TOYS, rows

LIMIT = {"max_time": "00:01:00:00"}
TRAINERS = {
    "each epoch": {},
    "twice an epoch": {"val_check_interval": 0.5},
    "each batch": {"val_check_interval": 1, "accumulate_grad_batches": 2},
    "steps": {"max_steps": 14},
}


@pytest.fixture
def out_of_time_at(monkeypatch):
    """Let the time of runs be over from a step on, None for never."""

    def at(step: int | None) -> None:
        def is_over(self, trainer):
            return step is not None and trainer.global_step >= step

        monkeypatch.setattr(TimeLimit, "is_over", is_over)

    return at


def run_in(config, root):
    return execute(Run.of(config, root))


@pytest.mark.parametrize("trainer", TRAINERS.values(), ids=TRAINERS)
@pytest.mark.parametrize("step", [1, 4, 6])
def test_a_run_out_of_time_has_its_own_state_and_goes_on(
    tiny, tmp_path, out_of_time_at, once, step, trainer
):
    out_of_time_at(None)
    whole = tiny(trainer=trainer, model={"dropout": 0.3})
    state, root = once(run_in, whole)
    assert state == "finished"
    config = merge(whole, {"trainer": LIMIT})
    out_of_time_at(step)
    assert execute(Run.of(config, tmp_path / "late")) == "out_of_time"
    folder = Run.of(config, tmp_path / "late").create()
    assert (folder.state, folder.result, folder.is_complete) == ("out_of_time", None, False)
    assert "max_time=00:01:00:00 ended it at step" in folder.reason
    out_of_time_at(None)
    longer = merge(whole, {"trainer": {"max_time": "01:00:00:00"}})
    assert execute(Run.of(longer, folder.path.parent))
    expected = Run.of(whole, root).folder
    assert folder.result.scores == expected.result.scores
    assert rows(folder.path) == rows(expected.path)
    one, other = (torch.load(f.path / FOLDER / LAST)["state_dict"] for f in (folder, expected))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_time_limit_is_no_part_of_the_name(tiny):
    names = {fingerprint(tiny(trainer=t)) for t in ({}, LIMIT, {"max_time": {"hours": 3}})}
    assert len(names) == 1


def test_a_run_that_is_complete_when_its_time_is_over_has_finished(tiny, tmp_path, out_of_time_at):
    out_of_time_at(16)
    assert execute(Run.of(tiny(trainer=LIMIT), tmp_path)) == "finished"
    out_of_time_at(6)
    assert execute(Run.of(tiny(trainer={"max_steps": 6} | LIMIT), tmp_path)) == "finished"


def test_time_is_over_by_the_clock_of_the_training(tiny, tmp_path, monkeypatch):
    """It starts with the training, and a resumed run goes on from the time used so far."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("lightning.pytorch.callbacks.timer.time", clock)
    step = SequenceModule.training_step

    def slow(self, batch, batch_idx):
        clock.now += 10
        return step(self, batch, batch_idx)

    monkeypatch.setattr(SequenceModule, "training_step", slow)
    run = Run.of(tiny(trainer={"max_time": "00:00:01:00"}), tmp_path)
    assert execute(run) == "out_of_time"
    assert "ended it at step 6" in run.folder.reason
    longer = Run.of(tiny(trainer={"max_time": "00:00:01:30"}), tmp_path)
    assert execute(longer) == "out_of_time"
    assert "ended it at step 9" in longer.folder.reason


def test_the_command_line_says_that_time_is_over_and_exits_with_1(tiny, tmp_path):
    (tmp_path / "run.yaml").write_text(
        yaml.safe_dump(tiny(trainer={"max_time": {"microseconds": 1}}))
    )
    command = [sys.executable, "-m", "ssmbench", "run", "run.yaml", "--plugins", str(TOYS)]
    done = subprocess.run(
        [*command, "--json"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    answer = json.loads(done.stdout)
    assert answer["status"] == "out_of_time"
    assert "run it again with a larger one to resume" in answer["reason"]


def as_lightning_does():
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        sys.exit(1)


def from_the_keyboard():
    raise KeyboardInterrupt


@pytest.mark.parametrize("stopped", [from_the_keyboard, as_lightning_does])
def test_a_run_that_is_stopped_is_interrupted(tiny, tmp_path, monkeypatch, stopped):
    def stop(*_):
        stopped()

    monkeypatch.setattr(execution, "train", stop)
    with pytest.raises(InterruptedRunError, match="the same command resumes"):
        execute(Run.of(tiny(), tmp_path))
    assert Run.of(tiny(), tmp_path).folder.state == "interrupted"


@pytest.mark.parametrize(("code", "shown"), [(None, ""), (0, "0"), (3, "3"), ("so", "'so'")])
def test_a_run_whose_code_exits_has_failed(tiny, tmp_path, monkeypatch, code, shown):
    monkeypatch.setattr(execution, "train", lambda *_: sys.exit(code))
    run = Run.of(tiny(), tmp_path)
    assert execute(run) == "failed"
    assert run.folder.reason == f"code of this run called sys.exit({shown})"


@pytest.mark.parametrize("place", ["train", "measure_task_gains"])
def test_a_signal_ends_a_run_with_its_state_written(tiny, tmp_path, monkeypatch, place):
    """At once, where the run does not train: before its first step, and while it is measured."""
    original = getattr(execution, place)

    def signalled(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    monkeypatch.setattr(execution, place, signalled)
    with pytest.raises(InterruptedRunError, match="interrupted by SIGTERM"):
        execute(Run.of(tiny(), tmp_path))
    folder = Run.of(tiny(), tmp_path).folder
    assert (folder.state, folder.reason) == ("interrupted", "interrupted by SIGTERM")


def test_a_terminated_process_does_not_exit_with_0(tiny, tmp_path):
    """SIGTERM in the middle of an epoch, where Lightning itself exits with 0."""
    model = {"parametrization": {"name": "mortal", "d_state": 4}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tiny(model=model)))
    command = [sys.executable, "-m", "ssmbench", "run", "run.yaml", "--plugins", str(TOYS)]
    environment = os.environ | {"TOY_DIE_AT": "6", "TOY_DIE_HOW": "SIGTERM"}
    done = subprocess.run(
        [*command, "-o", "out"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 143
    (line,) = done.stderr.splitlines()[-1:]
    assert "interrupted by SIGTERM at step 7; the same command resumes" in line
    assert "Traceback" not in done.stderr
    (folder,) = (tmp_path / "out").iterdir()
    assert RunFolder(folder).state == "interrupted"
