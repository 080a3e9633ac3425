"""Runs of two ranks of which one is told to stop, fails or is killed: both end, and go on."""

from __future__ import annotations

import random
import signal

import pytest

from ssmbench.errors import UsageError
from ssmbench.runs.execute import execute
from ssmbench.runs.run import Run
from tests.training.ranks import on_two_ranks
from tests.training.test_interruption import TASK, assert_same

TWO = {"devices": 2, "strategy": "ddp", "accelerator": "cpu", "max_epochs": 3}


def death(at: int, rank: int, how: str) -> dict[str, str]:
    return {"TOY_DIE_AT": str(at), "TOY_DIE_RANK": str(rank), "TOY_DIE_HOW": how}


@pytest.fixture
def config(mortal):
    return mortal(task=TASK, batch_size=2, trainer=TWO | {"accumulate_grad_batches": 2})


@pytest.fixture
def whole(config, once):
    def run(config, root):
        return on_two_ranks(Run.of(config, root))

    codes, root = once(run, config)
    assert codes == [0, 0]
    return Run.of(config, root).folder


@pytest.mark.parametrize(("rank", "how"), [(0, "SIGUSR1"), (1, "SIGTERM")])
def test_a_signal_to_one_rank_stops_both_after_the_same_step(config, whole, tmp_path, rank, how):
    """At a random batch, seeded; then it goes on bit for bit."""
    run, at = Run.of(config, tmp_path), random.Random(rank).randrange(20)
    code = 128 + signal.Signals[how]
    assert on_two_ranks(run, **death(at, rank, how)) == [code, code]
    assert run.folder.state == "interrupted"
    assert f"interrupted by {how} at step" in run.folder.reason
    assert on_two_ranks(run) == [0, 0]
    assert_same(run.folder, whole)


@pytest.mark.parametrize(
    ("rank", "how", "state", "reason"),
    [
        (0, "raise", "failed", "RuntimeError: killed by the test"),
        (0, "SIGKILL", "interrupted", "its process ended"),
        (1, "raise", "failed", "rank 1 failed: RuntimeError: killed by the test (full traceback:"),
        (1, "exit", "failed", "rank 1 failed: SystemExit"),
        (1, "SIGKILL", "failed", "another process of the run is lost"),
    ],
)
def test_a_rank_that_is_lost_ends_the_other(config, tmp_path, rank, how, state, reason):
    run = Run.of(config, tmp_path)
    codes = on_two_ranks(run, **death(20, rank, how))
    assert None not in codes, "a rank hangs"
    assert codes[rank] == (-signal.SIGKILL if how == "SIGKILL" else 1)
    assert codes[1 - rank] == 1
    assert (run.folder.state, reason in run.folder.reason) == (state, True), run.folder.reason


def test_a_run_goes_on_after_a_rank_was_killed(config, whole, tmp_path):
    run = Run.of(config, tmp_path)
    on_two_ranks(run, **death(20, 1, "SIGKILL"))
    assert on_two_ranks(run) == [0, 0]
    assert_same(run.folder, whole)


def test_a_rank_does_not_wait_for_ever_for_another_one(mortal, tmp_path):
    run = Run.of(mortal(trainer=TWO | {"timeout": {"seconds": 1}}), tmp_path)
    assert on_two_ranks(run, started=[0]) == [1]
    assert "waited in vain for 2 processes to meet at 127.0.0.1:" in run.folder.reason
    assert run.folder.state == "failed"


def test_a_run_on_two_nodes_that_nobody_started_is_refused(mortal, tmp_path, monkeypatch):
    for name in ("MASTER_ADDR", "NODE_RANK", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MASTER_PORT", "1")
    run = Run.of(mortal(trainer=TWO | {"num_nodes": 2}), tmp_path)
    words = r"num_nodes=2: nothing has started.*srun or torchrun.*set: MASTER_ADDR, NODE_RANK\)"
    with pytest.raises(UsageError, match=words):
        execute(run)
