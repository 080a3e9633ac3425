"""Which weights are scored, on which data, and what a result says of it."""

from __future__ import annotations

import pytest
import torch

from ssmbench.registry import tasks
from ssmbench.runs.execute import execute
from ssmbench.runs.run import Run
from ssmbench.tasks.sequences import Sequences
from ssmbench.training.checkpoints import load_checkpoint
from tests.training.runs import train

#: Validated after the first two of three epochs, and not at the end.
LATE = {"max_epochs": 3, "check_val_every_n_epoch": 2}


def test_the_last_weights_are_validated_and_may_be_the_best(tiny, tmp_path):
    """Where training goes on after the last validation, its progress counts."""
    trained = train(tiny(trainer=LATE), tmp_path)
    kept = load_checkpoint(tmp_path / "checkpoints/best.ckpt")
    scores = trained.scores
    assert kept["global_step"] == trained.steps == 12
    assert (scores.last_val, scores.last_test) == (scores.val, scores.test)
    for name, value in trained.module.state_dict().items():
        assert torch.equal(kept["state_dict"][name], value)


def test_the_best_weights_stay_where_the_last_are_worse(tiny, tmp_path, lose_progress):
    lose_progress(after=8)
    trained = train(tiny(trainer=LATE), tmp_path)
    scores = trained.scores
    assert load_checkpoint(tmp_path / "checkpoints/best.ckpt")["global_step"] == 8
    assert scores.last_val > scores.val
    assert scores.last_test > scores.test


@pytest.fixture
def lose_progress(monkeypatch):
    """``lose_progress(after=k)``: each later optimizer step makes the parameters larger."""

    def start(after: int) -> None:
        step, count = torch.optim.AdamW.step, []

        def worse(self, closure=None):
            loss = step(self, closure)
            count.append(loss)
            if len(count) > after:
                for parameter in (p for group in self.param_groups for p in group["params"]):
                    parameter.data.mul_(1.5)
            return loss

        monkeypatch.setattr(torch.optim.AdamW, "step", worse)

    return start


def test_further_tests_are_scored_and_one_that_overflows_is_none(tiny, tmp_path, monkeypatch):
    load = tasks.get("toy").factory.load

    def with_further(self):
        splits = load(self)
        u, target = splits.test.u, splits.test.target
        huge = torch.full_like(u, 3e38)
        further = {"same": Sequences(u, target), "huge": Sequences(huge, target)}
        return type(splits)(splits.train, splits.val, splits.test, further)

    monkeypatch.setattr(tasks.get("toy").factory, "load", with_further)
    run = Run.of(tiny(), tmp_path)
    execute(run)
    scores = run.folder.read_result().scores
    assert scores.further["same"] == pytest.approx(scores.test)
    assert scores.further["huge"] is None


def test_a_result_has_the_scores_of_the_baselines(tiny, tmp_path):
    config = tiny(task="digits", trainer={"max_epochs": 0})
    run = Run.of(config, tmp_path)
    execute(run)
    assert run.folder.read_result().task.baselines == pytest.approx(
        {"majority class": 0.1}, abs=0.01
    )
