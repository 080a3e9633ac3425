"""A signal in training: the run ends after the current step, and goes on as if it had not."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import random
import signal
from typing import Any

import pytest
import torch

from ssmbench.config import merge
from ssmbench.errors import InterruptedRunError
from ssmbench.runs.execute import execute
from ssmbench.runs.folder import RunFolder
from ssmbench.runs.run import Run
from ssmbench.training import interruption
from ssmbench.training.checkpoints import FOLDER, LAST
from ssmbench.training.last_checkpoint import LastCheckpoint
from ssmbench.training.module import SequenceModule
from ssmbench.training.time_limits import TimeLimit
from tests.training.runs import rows

#: Eight batches an epoch, so that there are several steps between two validations.
TASK = {"name": "toy", "train": 32}
AVERAGED = {"callbacks": [{"name": "ema", "decay": 0.8}, "learning_rates"]}
PLATEAU = {"optimizer": {"schedule": "plateau", "plateau_patience": 0}}
CONFIGS = {
    "plain": {},
    "accumulating": {"trainer": {"accumulate_grad_batches": 3}},
    "accumulating over validations": {
        "trainer": {"accumulate_grad_batches": 4, "val_check_interval": 6}
    },
    "steps": {"trainer": {"max_epochs": 9, "max_steps": 19, "check_val_every_n_epoch": 2}},
    "averaged": AVERAGED | {"trainer": {"val_check_interval": 0.5}},
    "seldom logged": PLATEAU | {"trainer": {"log_every_n_steps": 3}},
}
SIGNALS = {"SIGINT": 130, "SIGTERM": 143, "SIGUSR1": 138, "SIGUSR2": 140}


def executed(config, root):
    return execute(Run.of(config, root))


@pytest.fixture
def passes(monkeypatch):
    """The batches on which a run was trained, (epoch, index), in their order."""
    seen, step = [], SequenceModule.training_step

    def spy(self, batch, batch_idx):
        seen.append((self.current_epoch, batch_idx))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(SequenceModule, "training_step", spy)
    return seen


def die(monkeypatch, at: int, how: str) -> None:
    monkeypatch.setenv("TOY_DIE_AT", str(at))
    monkeypatch.setenv("TOY_DIE_HOW", how)


def assert_same(found: RunFolder, expected: RunFolder) -> None:
    assert rows(found.path) == rows(expected.path)
    assert found.read_result().scores == expected.read_result().scores
    one, other = (torch.load(f.path / FOLDER / LAST)["state_dict"] for f in (found, expected))
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_run_goes_on_bit_for_bit_from_any_batch_and_repeats_none(
    mortal, tmp_path, monkeypatch, once, passes, name
):
    """Stopped at two random batches in turn; seeded."""
    config = mortal(task=TASK, **CONFIGS[name])
    (state, root), chosen = once(executed, config), random.Random(name)
    assert state == "finished"
    passes.clear()
    run = Run.of(config, tmp_path)
    for how in chosen.sample(list(SIGNALS), 2):
        die(monkeypatch, chosen.randrange(12), how)
        with pytest.raises(InterruptedRunError, match=f"interrupted by {how} at step") as seen:
            execute(run)
        assert seen.value.exit_code == SIGNALS[how]
        assert run.folder.state == "interrupted"
    monkeypatch.delenv("TOY_DIE_AT")
    assert execute(run) == "finished"
    assert len(passes) == len(set(passes)), "a batch was repeated"
    assert_same(run.folder, Run.of(config, root).folder)


@pytest.mark.parametrize("death", [3, 12])
def test_a_killed_run_repeats_what_came_after_the_last_regular_checkpoint(
    mortal, tmp_path, monkeypatch, once, passes, death
):
    config = mortal(task=TASK, trainer={"accumulate_grad_batches": 2})
    _, root = once(executed, config)
    monkeypatch.setattr(LastCheckpoint, "_EVERY", 0.0)
    die(monkeypatch, death, "raise")
    run = Run.of(config, tmp_path)
    assert execute(run) == "failed"
    monkeypatch.delenv("TOY_DIE_AT")
    passes.clear()
    assert execute(run) == "finished"
    assert passes[0] == divmod(death - death % 2, 8)
    assert_same(run.folder, Run.of(config, root).folder)


def test_a_second_signal_does_not_wait_for_the_end_of_an_accumulation(
    mortal, tmp_path, monkeypatch
):
    """The same signal sent twice at once, by a terminal and by a launcher, is one."""
    config = mortal(task=TASK, trainer={"accumulate_grad_batches": 8})
    die(monkeypatch, 1, "SIGTERM")
    step, at = SequenceModule.training_step, []

    def insist(self, batch, batch_idx):
        loss = step(self, batch, batch_idx)
        at.append(batch_idx)
        if batch_idx in (2, 5):
            monkeypatch.setattr(interruption, "_SAME", 0.0 if batch_idx == 5 else 1e9)
            os.kill(os.getpid(), signal.SIGTERM)
        return loss

    monkeypatch.setattr(SequenceModule, "training_step", insist)
    run = Run.of(config, tmp_path)
    with pytest.raises(InterruptedRunError, match="interrupted by SIGTERM;") as seen:
        execute(run)
    assert seen.value.exit_code == 143
    assert at == [0, 1, 2, 3, 4, 5]
    assert run.folder.state == "interrupted"


@pytest.mark.parametrize("then", ["raise", "exit"])
def test_an_error_after_a_signal_is_its_consequence(mortal, tmp_path, monkeypatch, then):
    """Such as that of a data loader, one of whose workers the signal has ended."""
    die(monkeypatch, 2, f"SIGUSR1 {then}")
    run = Run.of(mortal(), tmp_path)
    with pytest.raises(InterruptedRunError) as stopped:
        execute(run)
    assert (stopped.value.signal, run.folder.state) == (signal.SIGUSR1, "interrupted")
    detail = {"raise": ", then RuntimeError: killed by the test", "exit": ""}[then]
    assert run.folder.reason == f"interrupted by SIGUSR1{detail}"
    monkeypatch.delenv("TOY_DIE_AT")
    assert execute(run) == "finished"


def test_signals_are_as_before_after_a_run(tiny, tmp_path):
    before = [signal.getsignal(number) for number in interruption.SIGNALS]
    execute(Run.of(tiny(trainer={"max_epochs": 1}), tmp_path))
    assert [signal.getsignal(number) for number in interruption.SIGNALS] == before


def test_a_run_out_of_time_repeats_nothing(mortal, tmp_path, monkeypatch, once, passes):
    config = mortal(task=TASK, trainer={"accumulate_grad_batches": 3})
    _, root = once(executed, config)
    run = Run.of(merge(config, {"trainer": {"max_time": "00:01:00:00"}}), tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(TimeLimit, "is_over", lambda self, trainer: trainer.global_step >= 5)
        passes.clear()
        assert execute(run) == "out_of_time"
    assert execute(run) == "finished"
    assert len(passes) == len(set(passes))
    assert_same(run.folder, Run.of(config, root).folder)


def hang(run: Run, reached: Any) -> None:
    """Execute a run whose first step waits for ever for a mutex, where no handler is run."""

    def step(*_: object) -> None:
        mutex = ctypes.create_string_buffer(64)
        reached.set()
        for _attempt in range(2):
            ctypes.CDLL(None).pthread_mutex_lock(mutex)

    SequenceModule.training_step = step
    interruption._SAME = interruption._GRACE = 0.1
    execute(run)


def test_a_second_signal_ends_a_run_that_hangs_in_native_code(mortal, tmp_path):
    run, context = Run.of(mortal(task=TASK), tmp_path), multiprocessing.get_context("fork")
    reached = context.Event()
    child = context.Process(target=hang, args=(run, reached))
    child.start()
    assert reached.wait(60)
    while child.exitcode is None:  # a signal that comes before the last was handled is lost
        child.terminate()
        child.join(0.3)
    assert child.exitcode == 143
    assert (run.folder.state, run.folder.reason) == ("interrupted", "interrupted by SIGTERM")
