"""Optimizer groups, the learning rate's schedule, and what a step does."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ssmbench import registry
from ssmbench.config import OptimizerConfig, options_of, typed
from ssmbench.parametrizations.base import Parametrization
from ssmbench.training.module import Schedule, SequenceModule, parameter_groups
from ssmbench.training.trainer import build_model, build_task, train
from tests.training.runs import rows

CONFIG = OptimizerConfig(lr=0.1, ssm_lr=0.01, weight_decay=0.5)


def network(tiny, **model):
    run = typed(tiny(model=model))
    return build_model(run, build_task(run).sizes)


# --- parameter groups -------------------------------------------------------------------------


@pytest.mark.parametrize("parametrization", registry.parametrizations.names())
def test_groups_partition_the_parameters(tiny, parametrization):
    continuous = registry.parametrizations.get(parametrization).factory.time_domain == "continuous"
    model = network(
        tiny,
        parametrization=parametrization,
        discretizer="zoh" if continuous else None,
        nonlinearity="glu",
        norm="layer",
        n_layers=2,
    )
    grouped = [id(p) for g in parameter_groups(model, CONFIG) for p in g["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in model.parameters()}


def test_each_group_has_its_rate_and_decay(tiny):
    model = network(tiny, nonlinearity="glu", norm="layer", n_layers=2)
    rules = {
        id(p): (g["lr"], g["weight_decay"])
        for g in parameter_groups(model, CONFIG)
        for p in g["params"]
    }
    for name, parameter in model.named_parameters():
        if ".parametrization." in name:
            expected = (0.01, 0.0)
        elif parameter.ndim >= 2:
            expected = (0.1, 0.5)
        else:  # biases and the norm's weights
            expected = (0.1, 0.0)
        assert rules[id(parameter)] == expected, name


def test_ssm_parameters_are_found_inside_wrappers(tiny):
    """A parametrization that holds another one's parameters keeps them out of weight decay."""
    model = network(tiny)
    ssm = [m for m in model.modules() if isinstance(m, Parametrization)]
    wrapped = torch.nn.Sequential(torch.nn.ModuleList([model]))
    first = parameter_groups(wrapped, CONFIG)[0]
    assert {id(p) for p in first["params"]} == {id(p) for m in ssm for p in m.parameters()}


def test_empty_groups_are_left_out():
    groups = parameter_groups(torch.nn.Linear(2, 2, bias=False), CONFIG)
    assert [g["weight_decay"] for g in groups] == [0.5]


# --- schedule -----------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@example(total=108, warmup=8 / 108, final=0.01)
@given(total=st.integers(0, 400), warmup=st.floats(0, 1), final=st.floats(0, 1))
def test_schedule_rises_linearly_then_falls_to_the_final_fraction(total, warmup, final):
    schedule = Schedule(OptimizerConfig(warmup_fraction=warmup, final_fraction=final), total)
    factors = [schedule(step) for step in range(total + 10)]
    rising, falling = factors[: schedule.warmup], factors[schedule.warmup :]
    assert rising == pytest.approx([(k + 1) / schedule.warmup for k in range(len(rising))])
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(falling))
    assert all(final - 1e-12 <= f <= 1 for f in falling)
    if schedule.warmup < total:
        assert schedule(schedule.warmup) == 1
        assert schedule(total) == pytest.approx(final)
        quarter, rest = divmod(schedule.rest, 4)
        if rest == 0:  # a cosine lies above a straight line here, and below it at three quarters
            high = (1 + math.sqrt(0.5)) / 2
            for share, k in ((high, 1), (0.5, 2), (1 - high, 3)):
                found = schedule(schedule.warmup + k * quarter)
                assert found == pytest.approx(final + share * (1 - final))


def test_warm_up_is_a_tenth_of_the_steps():
    assert Schedule(OptimizerConfig(warmup_fraction=0.1), 200).warmup == 20


TRAINERS = {
    "epochs": {},
    "accumulating, with a rest": {"accumulate_grad_batches": 3},
    "some batches": {"limit_train_batches": 3},
    "a share of the batches": {"limit_train_batches": 0.5},
    "steps": {"max_epochs": -1, "max_steps": 7},
    "steps before epochs": {"max_steps": 7},
    "epochs before steps": {"max_steps": 700},
}


@pytest.mark.parametrize("options", TRAINERS.values(), ids=TRAINERS)
def test_schedule_covers_the_steps_that_are_taken(tiny, tmp_path, options):
    """As Lightning itself estimates them."""
    trained = train(tiny(trainer=options), tmp_path)
    trainer = trained.module.trainer
    assert trained.module.total_steps() == trainer.estimated_stepping_batches == trained.steps


def test_learning_rates_follow_the_schedule(tiny, tmp_path, monkeypatch):
    rates, step = [], torch.optim.AdamW.step

    def spy(self, closure=None):
        rates.append([group["lr"] for group in self.param_groups])
        return step(self, closure)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    config = tiny(optimizer={"lr": 0.02, "ssm_lr": 0.01, "warmup_fraction": 0.25})
    train(config, tmp_path)
    schedule = Schedule(options_of(registry.optimizers, config["optimizer"]), 16)
    assert [r[0] for r in rates] == pytest.approx([0.01 * schedule(k) for k in range(16)])
    assert [r[1] for r in rates] == pytest.approx([0.02 * schedule(k) for k in range(16)])
    assert rates[3][0] == pytest.approx(0.01), "warmed up after a quarter of 16 steps"


# --- steps --------------------------------------------------------------------------------------


def test_dropout_depends_on_seed_epoch_batch_and_rank(tiny):
    run = typed(tiny())
    module = SequenceModule(network(tiny), build_task(run), run.optimizer)

    def draw(epoch: int, batch: int, rank: int, seed: int = 0) -> float:
        class Place(SequenceModule):
            current_epoch, global_rank = epoch, rank

        module.__class__, module.task.seed = Place, seed
        module.seed_batch(batch)
        return torch.rand(()).item()

    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0, 1)]
    assert len({draw(*place) for place in places}) == len(places)
    assert draw(2, 3, 1) == draw(2, 3, 1)


def test_validation_scores_are_means_over_sequences_not_batches(tiny, tmp_path):
    """Seven sequences in batches of four and three."""
    trained = train(tiny(trainer={"max_epochs": 1}), tmp_path)
    split = trained.task.split("val")
    with torch.no_grad():
        loss = (trained.module.eval()(split.u) - split.target).square().mean().item()
    assert trained.scores["val"] == pytest.approx(math.sqrt(loss), rel=1e-5)
    logged = [r["val/loss"] for r in rows(tmp_path) if "val/loss" in r]
    assert logged == pytest.approx([loss, loss], rel=1e-5)
