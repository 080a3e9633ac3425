"""Truncation in training: the reduced layers, what goes on, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch

import ssmbench as sb
from ssmbench.build.network import build_network
from ssmbench.build.task import build_task
from ssmbench.config import fingerprint, typed
from ssmbench.errors import UsageError
from ssmbench.nn.freeze import freeze
from ssmbench.nn.reduced_layers import reduced_layer
from ssmbench.parametrizations.matrices import (
    DiscreteMatrices,
    DiscreteMatricesConfig,
    decay_and_angle,
)
from ssmbench.publication.layout import read_leaderboard
from ssmbench.publication.verify import verify
from ssmbench.publication.write import publish
from ssmbench.reduction import Amount
from ssmbench.reduction.errors import measured_errors
from ssmbench.registry import reducers
from ssmbench.results import Truncation
from ssmbench.runs.given import scores_of
from ssmbench.runs.load import load_trained
from ssmbench.training.checkpoints import BEST, FOLDER, load_checkpoint
from ssmbench.training.module import SequenceModule
from ssmbench.training.recorded_truncations import check_recorded
from ssmbench.training.truncation import TRUNCATIONS, as_truncated, truncate
from tests.conftest import TINY as SMALL
from tests.publication.forging import Forger
from tests.training.runs import check, losses, rows, train
from tests.training.test_resume import assert_same

S4D = {"parametrization": {"name": "s4d", "d_state": 8, "dt_min": 0.1, "dt_max": 0.3}}
ONCE = {"epochs": [1], "share": 0.4}
TRUNCATION = {"epochs": [1, 2], "share": 0.3}
LAYERS = {
    "both directions": S4D | {"bidirectional": True, "tied": True},
    "repeated": S4D | {"repeats": 2, "n_layers": 2},
    "s5": {"parametrization": {"name": "s5", "d_state": 8}, "discretizer": "bilinear"},
    "linoss": {
        "parametrization": {"name": "linoss", "d_state": 8},
        "discretizer": "backward_euler",
    },
    "matrices": {
        "parametrization": {"name": "discrete_matrices", "d_state": 7},
        "discretizer": None,
        "readout": "after",
    },
}


@pytest.fixture
def truncated(tiny):
    return lambda **over: tiny(**{"model": S4D, "truncation": TRUNCATION} | over)


@pytest.mark.parametrize("name", LAYERS)
def test_a_truncated_network_has_the_reduced_systems_and_the_other_parameters(tiny, name):
    run = typed(tiny(model=LAYERS[name], truncation=ONCE))
    task = build_task(run)
    torch.manual_seed(0)
    model = build_network(run, task.sizes)
    others = {n: p for n, p in model.named_parameters() if ".parametrization." not in n}
    reducer, amount = reducers.get("balanced_truncation").build(), Amount(share=0.4)
    held = freeze(model)
    found = [reduced_layer("", layer, reducer, amount) for layer in model.layers]
    for layer, reduction in zip(held.layers, found, strict=True):
        layer.hold(reduction.system)
    shape, records = truncate(model, run, task)
    u = torch.rand(3, 20, 1)
    assert torch.allclose(model(u), held(u), atol=2e-5)
    assert [r.bound for r in records] == [float(r.bound.max()) for r in found]
    now = dict(model.named_parameters())
    assert all(now[n] is p for n, p in others.items())
    built = build_network(as_truncated(run, [_Known(shape)]), task.sizes)
    built.load_state_dict(model.state_dict())
    assert [p.shape for p in built.parameters()] == [p.shape for p in model.parameters()]
    counts = {"epoch": 1, "step": 1, "parameters": model.parameter_count()}
    done = Truncation(
        **counts, form=shape.form, heads=shape.heads, states=shape.states, layers=records
    )
    check_recorded(run, build_network(run, task.sizes), [done])


class _Known:
    """What is read of a record."""

    def __init__(self, shape):
        self.form, self.heads, self.states = shape.form, shape.heads, shape.states


def test_an_unstable_layer_keeps_its_states(tiny):
    run = typed(tiny(model=LAYERS["matrices"], truncation=ONCE))
    task = build_task(run)
    model = build_network(run, task.sizes)
    with torch.no_grad():
        model.layers[0].parametrization.A *= 2
    u = torch.rand(3, 5, 1)
    before = model(u)
    _, (record,) = truncate(model, run, task)
    assert (record.kept, record.order, record.bound) == (7, 7, 0)
    assert record.reason.startswith("layer 0 (DiscreteMatrices): head 0 has spectral radius 1.8")
    assert torch.allclose(model(u), before, rtol=1e-4)


def test_a_layer_that_overflows_on_the_training_data_keeps_all_states(tiny):
    once = {"epochs": [1], "share": 0.4, "reducer": "input_weighted"}
    run = typed(tiny(model=LAYERS["matrices"], truncation=once))
    task = build_task(run)
    model = build_network(run, task.sizes)
    with torch.no_grad():
        model.layers[0].parametrization.A *= 1e6
    _, records = truncate(model, run, task)
    assert [r.kept for r in records] == [r.order for r in records]
    assert all(r.reason for r in records)


def test_the_errors_are_those_of_the_matrices_that_a_layer_holds(tiny):
    run = typed(tiny(model=S4D, truncation=ONCE))
    task = build_task(run)
    torch.manual_seed(0)
    model = build_network(run, task.sizes)
    given = [layer.system().detach() for layer in model.layers]
    _, records = truncate(model, run, task)
    for record, system, layer in zip(records, given, model.layers, strict=True):
        hinf, h2 = measured_errors(system, layer.system().detach())
        assert (record.hinf_error, record.h2_error) == (float(hinf.max()), float(h2.max()))


def test_poles_of_truncated_layers_stay_stable_whatever_a_step_does(tiny):
    run = typed(tiny(model=S4D, truncation=ONCE))
    task = build_task(run)
    torch.manual_seed(0)
    model = build_network(run, task.sizes)
    shape, _ = truncate(model, run, task)
    assert shape.form == "polar"
    for step in (-100.0, -1.0, 1.0, 100.0):
        with torch.no_grad():
            for parameter in model.layers[0].parametrization.parameters():
                parameter += step
        assert model.layers[0].system().is_stable()


@pytest.mark.parametrize("modulus", [0.0, 1e-30, 0.5, 0.999, 1 - 1e-6])
def test_decay_and_angle_give_the_pole_back(modulus):
    lam = modulus * torch.polar(torch.ones(1, 3), torch.tensor([[0.0, 2.0, 3.14159]]))
    config = DiscreteMatricesConfig(d_state=6, form="polar")
    layer = DiscreteMatrices(config, d_model=2)
    with torch.no_grad():
        for name, value in decay_and_angle(lam).items():
            getattr(layer, name).copy_(value)
    found = layer()
    assert found.is_stable()
    assert torch.allclose(found.lam, lam, rtol=1e-6, atol=2e-12)


def die_at(monkeypatch, step: int) -> None:
    """Let a training die before its step of this number."""
    whole = SequenceModule.training_step

    def dying(self, batch, batch_idx):
        if self.global_step == step:
            raise RuntimeError("killed by the test")
        return whole(self, batch, batch_idx)

    monkeypatch.setattr(SequenceModule, "training_step", dying)


OPTIMIZERS = {
    "adamw": {},
    "recording": {"truncation": TRUNCATION | {"reducer": "input_weighted"}},
    "sgd": {"optimizer": {"name": "sgd", "lr": 0.01, "ssm_lr": 0.005}},
    "steps": {"trainer": {"max_steps": 14, "max_epochs": -1, "val_check_interval": 2}},
}


@pytest.mark.parametrize(
    ("name", "death"),
    [("adamw", 4), ("adamw", 6), ("adamw", 8), ("sgd", 10), ("recording", 6), ("steps", 11)],
)
def test_a_resumed_run_is_the_uninterrupted_one(
    truncated, tmp_path, monkeypatch, once, name, death
):
    config = truncated(callbacks=["learning_rates"], **OPTIMIZERS[name])
    whole, folder = once(train, config)
    with monkeypatch.context() as patch:
        die_at(patch, death)
        with pytest.raises(RuntimeError, match="killed by the test"):
            train(config, tmp_path)
    found = train(config, tmp_path)
    assert_same(found, whole)
    assert found.truncations == whole.truncations
    assert [one.epoch for one in whole.truncations] == [1, 2]
    assert rows(tmp_path) == rows(folder)
    assert losses(tmp_path) == losses(folder)


def test_what_goes_on_and_what_starts_anew(truncated, tiny, tmp_path):
    """Moments of parameters that are still there, and the learning rates, go on."""
    (tmp_path / "other").mkdir()
    config = truncated(callbacks=["learning_rates"])
    trained = train(config, tmp_path)
    other = tiny(model=S4D, callbacks=["learning_rates"])
    train(other, tmp_path / "other")
    state = load_checkpoint(tmp_path / FOLDER / "last.ckpt")["optimizer_states"][0]
    network = trained.module.model
    names = dict(network.named_parameters())
    ssm = {name for name in names if ".parametrization." in name}
    steps = [int(one["step"]) for one in state["state"].values()]
    assert (steps.count(8), steps.count(16)) == (len(ssm), len(names) - len(ssm))
    rates = [r for r in rows(tmp_path) if "lr-AdamW/pg1" in r]
    assert rates == [r for r in rows(tmp_path / "other") if "lr-AdamW/pg1" in r]


def test_the_best_weights_are_from_after_the_truncations(truncated, tmp_path):
    """Validation punishes what training teaches: the first of four epochs is the best."""
    task = {"name": "toy", "misled": True, "per_step": True}
    trained = train(truncated(task=task), tmp_path)
    state = load_checkpoint(tmp_path / FOLDER / BEST)
    assert state["global_step"] == 12
    assert [one["epoch"] for one in state[TRUNCATIONS]] == [1, 2]
    assert trained.scores.val < trained.scores.last_val
    kept = [layer.kept for layer in trained.truncations[-1].layers]
    assert [layer.system().order for layer in trained.module.model.layers] >= kept


def test_without_a_validation_after_it_no_best_weights_remain(truncated, tmp_path):
    trainer = {"max_steps": 10, "max_epochs": -1, "check_val_every_n_epoch": 2}
    config = truncated(trainer=trainer, truncation={"epochs": [2], "share": 0.3})
    trained = train(config, tmp_path)
    assert trained.steps == 10
    assert not (tmp_path / FOLDER / BEST).exists()
    assert trained.scores.val == trained.scores.last_val


def test_a_training_that_ends_early_says_what_it_missed(truncated, tmp_path):
    stop = {"name": "early_stopping", "patience": 1}
    task = {"name": "toy", "misled": True, "per_step": True}
    config = truncated(task=task, callbacks=[stop], truncation={"epochs": [3], "share": 0.3})
    trained = train(config, tmp_path)
    assert trained.truncations == ()
    assert trained.notes[-1] == "truncation: the training ended before the end of epoch 3"


REFUSED = {
    "time-varying": (
        {
            "model": {
                "parametrization": {"name": "contraction_selective", "d_state": 2},
                "discretizer": None,
            }
        },
        r"truncation: layer 0 \(ContractionSelective\) ",
    ),
    "initial state": (
        {"model": S4D | {"initial_state": "learned"}},
        r"truncation: layer 0 \(S4D\) starts from a learned state",
    ),
    "gain": (
        {"model": {"parametrization": {"name": "l2ru"}, "discretizer": None}},
        r"truncation: layer 0 \(L2RU\) declares a gain, but the layers hold free matrices",
    ),
    "normaliser": (
        {"model": S4D | {"normaliser": {"name": "hinf", "gamma": 2.0}}},
        "truncation: model.normaliser prescribes a gain",
    ),
    "amount": ({"truncation": {"epochs": [1]}}, "truncation: allowed: one of tolerance, order and"),
    "two amounts": (
        {"truncation": {"epochs": [1], "order": 2, "share": 0.5}},
        "given: order and share",
    ),
    "no epochs": (
        {"truncation": {"epochs": [], "share": 0.3}},
        "has no effect without truncation.epochs",
    ),
    "compiled": ({"compile": True}, "layers are not compiled; set compile=false"),
    "ranks": ({"trainer": {"devices": 2}}, "truncates has one process"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_before_anything_is_trained(truncated, name):
    over, says = REFUSED[name]
    with pytest.raises(UsageError, match=says):
        check(truncated(**over))


@pytest.mark.parametrize(
    ("over", "says"),
    [
        ({"truncation": {"epochs": [4], "share": 0.3}}, r"epoch 4 must be followed by training"),
        ({"callbacks": ["ema"]}, r"no averages \(ema\)"),
    ],
)
def test_refusals_at_the_start(truncated, tmp_path, over, says):
    with pytest.raises(UsageError, match=says):
        train(truncated(**over), tmp_path)


def test_only_runs_that_truncate_have_another_identity(tiny, truncated):
    plain = tiny(model=S4D)
    assert fingerprint({k: v for k, v in plain.items() if k != "truncation"}) == fingerprint(plain)
    assert fingerprint(truncated()) != fingerprint(plain)
    assert fingerprint(truncated()) != fingerprint(
        truncated(truncation=TRUNCATION | {"reducer": "modal_truncation"})
    )


# --- the whole run --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> sb.Run:
    over = {
        "truncation": {"epochs": [1], "share": 0.5},
        "trainer.max_epochs": 2,
        "trainer.limit_test_batches": 1.0,
        "model.parametrization.d_state": 8,
        "analysis.robustness": False,
        "analysis.figures": 0,
    }
    root = tmp_path_factory.mktemp("runs")
    return sb.train(copy.deepcopy(SMALL), over, output=root, progress=False)


def test_a_run_is_loaded_with_the_layers_that_it_was_tested_with(run):
    (done,) = run.result.truncations
    assert (done.epoch, done.step, [layer.kept for layer in done.layers]) == (1, 1, [4])
    loaded = load_trained(run.folder)
    assert loaded.model.layers[0].system().order == done.states[0]
    assert loaded.model.parameter_count() == run.result.parameters == done.parameters
    assert scores_of(loaded.model, loaded.task).test == pytest.approx(run.scores.test)
    attacked = sb.attack(run, steps=1, restarts=1).gain
    assert attacked.verified == pytest.approx(run.gains.verified)


def test_a_run_is_reduced_again_and_goes_on_without_truncation(run):
    found = sb.reduce_run(run, order=2, output=run.folder.parent / "smaller")
    smaller = sb.load(found.folder)
    assert [layer.kept for layer in found.layers] == [2]
    assert smaller.config["truncation"]["epochs"] == []
    assert smaller.result.truncations == ()


LIES = {
    "is float32 of shape": {"states": [2]},
    "truncations after epochs [2], but config.yaml has [1]": {"epoch": 2},
    "has no blocks.0.layer.parametrization.A": {"form": "dense"},
}


def test_a_published_run_is_verified_and_a_lie_about_its_layers_is_not(run, tmp_path):
    publish(run.folder, tmp_path / "published")
    assert verify(tmp_path / "published", isolated=False).accepted
    (label,) = (entry.label for entry in read_leaderboard(tmp_path / "published"))
    for index, (says, lie) in enumerate(LIES.items()):
        made = Forger(tmp_path / "published", tmp_path / str(index), label)
        made.result(lambda r, lie=lie: r["truncations"][0].update(lie))
        assert says in made.reasons()
