"""The schedules of the learning rate: each by its formula, over steps and over time."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ssmbench.build.schedule import Schedule
from ssmbench.optimizers.base import SCHEDULES, OptimizerConfig
from tests.training.runs import train


def factors(total: int, **options) -> list[float]:
    schedule = Schedule(OptimizerConfig(**options), total)
    return [schedule(step) for step in range(total + 2)]


def test_warm_up_in_steps():
    found = factors(100, warmup_steps=4, schedule="constant")
    assert found == [0.25, 0.5, 0.75, *[1.0] * 99]
    assert factors(9, warmup_steps=0, schedule="constant") == [1.0] * 11


def test_linear_decay():
    found = factors(14, warmup_steps=4, schedule="linear", final_fraction=0.2)[4:]
    assert found == pytest.approx([*(1 - 0.08 * k for k in range(11)), 0.2])


def test_decay_by_stages():
    """After each tenth of ten steps, down to the final fraction."""
    options = {"warmup_steps": 2, "decay_every": 0.1, "decay_factor": 0.5}
    found = factors(12, schedule="step", final_fraction=0.01, **options)[2:]
    assert found == pytest.approx([max(0.01, 0.5**k) for k in (*range(11), 10)])
    every = factors(20, schedule="step", final_fraction=0.0, warmup_steps=0, decay_every=0.25)
    assert every == pytest.approx([0.1 ** min(k // 5, 4) for k in range(22)])


def test_decay_at_each_plateau():
    config = OptimizerConfig(
        warmup_steps=2, schedule="plateau", decay_factor=0.5, final_fraction=0.2
    )
    schedule, found = Schedule(config, 100), []
    for step in range(6):
        found.append(schedule(step))
        schedule.reduce()
    assert found == [0.5, 1.0, 0.25, 0.2, 0.2, 0.2]


@pytest.mark.parametrize("kind", SCHEDULES)
def test_warm_up_in_steps_and_decay_over_time(kind):
    """With the share of a budget that each step would have, the decay is that over steps."""
    options: dict[str, Any] = {"schedule": kind, "warmup_steps": 0, "decay_every": 0.3}
    timed = Schedule(OptimizerConfig(**options), None)
    found = []
    for step in range(50):
        timed.advance_to(step / 50)
        found.append(timed(step))
    assert found == pytest.approx(factors(50, **options)[:50])
    rising = Schedule(OptimizerConfig(**options | {"warmup_steps": 4}), None)
    assert [rising(step) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_the_share_of_a_budget_never_falls_and_ends_at_one():
    schedule = Schedule(OptimizerConfig(), None)
    for share, expected in ((0.5, 0.5), (0.4, 0.5), (3.0, 1.0)):
        schedule.advance_to(share)
        assert schedule.share == expected
    assert schedule(7) == pytest.approx(0.01)


def test_the_rates_fall_where_the_score_stays(tiny, tmp_path, monkeypatch):
    """The first of six validations is the best: the rates fall after the third and the fifth, from
    their second step on. A resumed run does the same."""
    rates, step = [], torch.optim.AdamW.step

    def spy(self, closure=None):
        rates.append(self.param_groups[0]["lr"])
        return step(self, closure)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    plateau = {"schedule": "plateau", "decay_factor": 0.5, "plateau_patience": 1}
    config = tiny(
        task={"name": "toy", "misled": True, "per_step": True},
        model={"parametrization": {"name": "mortal", "d_state": 4}},
        optimizer={"lr": 0.02, "ssm_lr": 0.01, "warmup_steps": 2} | plateau,
        trainer={"max_epochs": 6},
    )
    whole = train(config, tmp_path / "whole")
    expected = [0.005, *[0.01] * 12, *[0.005] * 8, *[0.0025] * 3]
    assert rates == pytest.approx(expected)
    monkeypatch.setenv("TOY_DIE_AT", "14")
    (tmp_path / "resumed").mkdir()
    with pytest.raises(RuntimeError, match="killed"):
        train(config, tmp_path / "resumed")
    monkeypatch.delenv("TOY_DIE_AT")
    rates.clear()
    resumed = train(config, tmp_path / "resumed")
    assert rates == pytest.approx(expected[12:])
    weights = resumed.module.state_dict()
    assert all(torch.equal(weights[k], v) for k, v in whole.module.state_dict().items())
