"""A budget of time ends a run as complete, and its schedule runs over it; by a fake clock."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ssmbench.config import fingerprint, resolve, seconds
from ssmbench.errors import UsageError
from ssmbench.runs.execute import execute
from ssmbench.runs.run import Run
from ssmbench.training.module import SequenceModule
from tests.training.runs import losses, rows, train

#: Ten steps of a second: two epochs of four, and a half.
TEN = {"budget": "10 s", "analysis": {"every_n_epochs": 0}}


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """The clock of the budget: a second passes in each batch of training, and no other time."""
    clock = SimpleNamespace(now=100.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("lightning.pytorch.callbacks.timer.time", clock)
    step = SequenceModule.training_step

    def timed(self, batch, batch_idx):
        clock.now += 1
        return step(self, batch, batch_idx)

    monkeypatch.setattr(SequenceModule, "training_step", timed)
    return clock


@pytest.fixture
def rates(monkeypatch):
    """The learning rates of the steps, of the group of SSM parameters."""
    seen, step = [], torch.optim.AdamW.step

    def spy(self, closure=None):
        seen.append(self.param_groups[0]["lr"])
        return step(self, closure)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    return seen


def test_a_run_ends_with_its_budget_validated_and_complete(tiny, tmp_path):
    config = tiny(**TEN, trainer={"max_epochs": 1, "max_steps": 2})
    run = Run.of(config, tmp_path)
    assert execute(run) == "finished"
    scores = run.folder.read_result().scores
    assert scores is not None
    assert scores.last_val is not None
    assert list(losses(run.folder.path)) == list(range(10))
    assert [r["step"] for r in rows(run.folder.path) if "val/rmse" in r] == [3, 7, 9]


def test_a_budget_within_the_first_epoch(tiny, tmp_path):
    trained = train(tiny(budget="2.5 s"), tmp_path)
    assert trained.steps == 3
    assert trained.scores is not None
    assert (tmp_path / "checkpoints/best.ckpt").exists()


def test_it_ends_between_whole_steps(tiny, tmp_path):
    trained = train(tiny(budget="5 s", trainer={"accumulate_grad_batches": 2}), tmp_path)
    assert trained.steps == 3  # the third ends after six batches of a second


def test_warm_up_and_decay_run_over_the_budget(tiny, tmp_path, rates):
    config = tiny(**TEN, optimizer={"ssm_lr": 0.01, "warmup_fraction": 0.2, "schedule": "linear"})
    train(config, tmp_path)
    shares = [k / 10 for k in range(10)]
    final = 0.01
    decayed = [final + (1 - final) * (1 - (share - 0.2) / 0.8) for share in shares[2:]]
    assert rates == pytest.approx([0.01 * factor for factor in (0.01, 0.5, *decayed)])


def test_a_clock_that_falls_back_does_not_raise_the_rate(tiny, tmp_path, rates, clock):
    """As where a resumed run repeats what its checkpoint does not contain."""
    step = SequenceModule.lr_scheduler_step

    def jump(self, *arguments):
        clock.now -= 1 if self.global_step == 5 else 0
        return step(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SequenceModule, "lr_scheduler_step", jump)
        train(tiny(**TEN, optimizer={"warmup_fraction": 0.0}), tmp_path)
    assert len(rates) == 11
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("trainer", [{}, {"val_check_interval": 0.5}], ids=["epochs", "halves"])
@pytest.mark.parametrize("death", [5, 7, 9])
def test_a_resumed_run_goes_on_from_the_time_used(
    tiny, tmp_path, monkeypatch, clock, once, death, trainer
):
    model = {"parametrization": {"name": "mortal", "d_state": 4}, "dropout": 0.3}
    config = tiny(**TEN, model=model, trainer=trainer)
    whole, folder = once(train, config)
    monkeypatch.setenv("TOY_DIE_AT", str(death))
    (tmp_path / "resumed").mkdir()
    with pytest.raises(RuntimeError, match="killed by the test"):
        train(config, tmp_path / "resumed")
    monkeypatch.delenv("TOY_DIE_AT")
    clock.now = 5e6  # another process
    resumed = train(config, tmp_path / "resumed")
    assert resumed.scores == whole.scores
    assert resumed.steps == whole.steps == 10
    assert rows(tmp_path / "resumed") == rows(folder)
    weights = resumed.module.state_dict()
    for name, value in whole.module.state_dict().items():
        assert torch.equal(weights[name], value), name


def test_a_run_whose_budget_is_used_is_only_scored_again(tiny, tmp_path):
    """As after a crash between the end of training and the result."""
    whole = train(tiny(**TEN), tmp_path)
    again = train(tiny(**TEN), tmp_path)
    assert (again.scores, again.steps) == (whole.scores, 10)
    assert list(losses(tmp_path)) == list(range(10))


def test_the_limit_interrupts_a_run_before_its_budget_is_used(tiny, tmp_path):
    config = tiny(**TEN, trainer={"max_time": "00:00:00:06"})
    run = Run.of(config, tmp_path)
    assert execute(run) == "out_of_time"
    assert "ended it at step 6; run it again" in run.folder.reason
    config["trainer"]["max_time"] = "00:00:00:10"
    assert execute(Run.of(config, tmp_path)) == "finished"


# --- the option ---------------------------------------------------------------------------------


def test_a_budget_is_a_part_of_the_name_and_its_absence_is_not():
    without, with_budget = resolve({}), resolve({"budget": "30 min"})
    assert fingerprint(without) == fingerprint({k: v for k, v in without.items() if k != "budget"})
    assert fingerprint(without) != fingerprint(with_budget)


@pytest.mark.parametrize(
    ("text", "expected"), [("90 s", 90), ("30min", 1800), ("1.5 h", 5400), (" 2 d ", 172800)]
)
def test_durations(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "value", ["0 s", "-5 min", "30", 30, "5 parsecs", "", "1 h 30 min", "nan s", "9" * 400 + " h"]
)
def test_a_bad_duration_is_refused_with_examples(value):
    with pytest.raises(UsageError, match="budget: must be a positive duration, for example '30 mi"):
        resolve({"budget": value})
