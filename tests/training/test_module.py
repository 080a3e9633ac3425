"""Optimizer groups, the learning rate's schedule, and what a step does."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ssmbench import registry
from ssmbench.build.network import build_network
from ssmbench.build.optimizer import parameter_groups
from ssmbench.build.schedule import Schedule
from ssmbench.build.task import build_task
from ssmbench.config import options_of, typed
from ssmbench.errors import UsageError
from ssmbench.optimizers.base import OptimizerConfig
from ssmbench.parametrizations.base import ParameterOptions, Parametrization
from ssmbench.parametrizations.s4d import S4D, S4DConfig
from ssmbench.training.module import SequenceModule
from tests.training.runs import rows, train

CONFIG = OptimizerConfig(lr=0.1, ssm_lr=0.01, weight_decay=0.5)


def network(tiny, **model):
    run = typed(tiny(model=model))
    return build_network(run, build_task(run).sizes)


# --- parameter groups -------------------------------------------------------------------------


@pytest.mark.parametrize("parametrization", registry.parametrizations.names())
def test_groups_partition_the_parameters(tiny, parametrization):
    continuous = registry.parametrizations.get(parametrization).factory.is_continuous()
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


class Choosy(S4D):
    """An own rate for the step sizes, and C trained as a weight is."""

    def optimizer_options(self):
        return {
            "log_dt": ParameterOptions(factor=0.1),
            "C": ParameterOptions("main", decay=True),
        }


def rules(model):
    groups = parameter_groups(model, CONFIG)
    return {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}


def test_a_parametrization_chooses_rate_and_decay_of_its_parameters():
    model = torch.nn.Sequential(Choosy(S4DConfig(d_state=4), d_model=2), torch.nn.Linear(2, 2))
    found = rules(model)
    expected = {"log_dt": (pytest.approx(0.001), 0.0), "C": (0.1, 0.5)}
    for name, parameter in model[0].named_parameters():
        assert found[id(parameter)] == expected.get(name, (0.01, 0.0)), name
    assert found[id(model[1].weight)] == (0.1, 0.5)
    assert len(found) == len(list(model.parameters()))


def test_a_parametrization_inside_another_has_the_last_word():
    class Outer(S4D):
        def __init__(self):
            super().__init__(S4DConfig(d_state=4), d_model=2)
            self.inner = Choosy(S4DConfig(d_state=4), d_model=2)

        def optimizer_options(self):
            return {"inner.C": ParameterOptions(factor=7.0), "D": ParameterOptions(factor=2.0)}

    model = Outer()
    found = rules(model)
    assert found[id(model.inner.C)] == (0.1, 0.5)
    assert found[id(model.inner.D)] == (0.01, 0.0)
    assert found[id(model.D)] == (0.02, 0.0)
    assert len(found) == len(list(model.parameters()))


@pytest.mark.parametrize("published", [False, True])
def test_s4d_as_published_trains_c_and_d_as_weights(tiny, published):
    """And no other parameter is touched: one step without gradients is decay alone."""
    options = {"name": "s4d", "d_state": 4, "published_groups": published}
    model = network(tiny, parametrization=options)
    found = rules(model)
    for name, parameter in model.layers[0].parametrization.named_parameters():
        as_weight = published and name in ("C", "D")
        assert found[id(parameter)] == ((0.1, 0.5) if as_weight else (0.01, 0.0)), name
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    sum(0 * p.sum() for p in model.parameters()).backward()
    torch.optim.AdamW(parameter_groups(model, CONFIG)).step()
    for name, parameter in model.named_parameters():
        rate, decay = found[id(parameter)]
        assert torch.allclose(parameter, before[name] * (1 - rate * decay)), name


@pytest.mark.parametrize("discretized", [True, False])
def test_a_learned_initial_state_is_trained_as_a_bias_is(tiny, discretized):
    options = {"discretizer": None, "parametrization": "l2ru"} if not discretized else {}
    model = network(tiny, initial_state="learned", **options)
    assert rules(model)[id(model.layers[0].x0)] == (0.1, 0.0)


def test_options_for_what_is_no_parameter_are_refused():
    class Mistaken(S4D):
        def optimizer_options(self):
            return {"log_step": ParameterOptions()}

    module = Mistaken(S4DConfig(d_state=4), d_model=2)
    with pytest.raises(UsageError, match="Mistaken: optimizer_options names 'log_step', which is"):
        parameter_groups(module, CONFIG)


@pytest.mark.parametrize("factor", [-1.0, math.inf, math.nan])
def test_a_factor_must_be_a_rate(factor):
    with pytest.raises(UsageError, match="a learning rate's factor cannot be"):
        ParameterOptions(factor=factor)


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
        quarter, rest = divmod(schedule.decay, 4)
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
    """As Lightning itself estimates them; steps are limited by the module, epochs by Lightning."""
    trained = train(tiny(trainer=options), tmp_path)
    estimated = trained.module.trainer.estimated_stepping_batches
    expected = min(estimated, options.get("max_steps", estimated))
    assert trained.module.total_steps() == expected == trained.steps


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
    assert trained.scores.val == pytest.approx(math.sqrt(loss), rel=1e-5)
    keys = ("val/loss", "best/val/loss")
    logged = [r[key] for r in rows(tmp_path) for key in keys if key in r]
    assert logged == pytest.approx([loss, loss], rel=1e-5)
