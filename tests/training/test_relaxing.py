"""A gamma that a proved bound keeps, for the weights that are chosen, saved and tested."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ssmbench.build.network import build_network
from ssmbench.build.task import build_task
from ssmbench.config import AnalysisConfig, resolve, typed
from ssmbench.errors import UsageError
from ssmbench.nn.certified import declared_pair_gains
from ssmbench.publication.checks.gains import check_gains
from ssmbench.publication.checks.tighter import TighterCheck
from ssmbench.runs.load import load_trained, measure_task_gains
from ssmbench.runs.run import Run
from ssmbench.tasks.sequences import PaddedSequences
from ssmbench.training.check import check
from ssmbench.training.checkpoints import load_checkpoint
from ssmbench.training.relaxing import promised_lengths, relax
from tests.training.runs import train
from tests.training.test_resume import assert_same, interrupted

GAMMA = 5.0
ORDINARY = {
    "task": "digits",
    "model": {
        "d_model": 4,
        "n_layers": 2,
        "frame": 8,
        "gamma": GAMMA,
        "gamma_by": "network_bound",
        "parametrization": {"name": "contraction", "d_state": 4},
        "pooling": "unit",
    },
    "batch_size": 64,
    "optimizer": {"lr": 0.02},
    "analysis": {"every_n_epochs": 0, "attack_steps": 2, "attack_restarts": 1},
    "trainer": {
        "limit_train_batches": 4,
        "limit_val_batches": 1,
        "limit_test_batches": 1,
        "max_epochs": 3,
        "devices": 1,
        "accelerator": "cpu",
    },
}
QUICK = AnalysisConfig(attack_steps=2, attack_restarts=1)


def built(**changes):
    torch.manual_seed(0)
    run = typed(resolve({**ORDINARY, "model": {**ORDINARY["model"], **changes}}))
    task = build_task(run)
    return task, build_network(run, task.sizes).eval()


def measured(model, task):
    return measure_task_gains(model, task, QUICK).gain


@pytest.fixture(scope="module")
def proved():
    """A function of the pooling: the task, a network that keeps gamma, its gains."""

    @functools.cache
    def found(pooling="unit"):
        task, model = built(pooling=pooling)
        assert relax(model, task, 10.0) == ""
        return task, model, measured(model, task)

    def copied(*pooling):
        task, model, gain = found(*pooling)
        return task, copy.deepcopy(model), gain

    return copied


@pytest.mark.parametrize("pooling", ["unit", "mean", "last"])
def test_the_bound_is_gamma_and_the_product_is_not(proved, pooling):
    _, model, gain = proved(pooling)
    network = gain.network
    assert gain.violations == ()
    assert network.declared == model.declared_gain == GAMMA
    assert network.declared_lengths == network.bound_lengths == (64,)
    assert 0.998 * GAMMA < network.bound <= GAMMA
    if pooling != "mean":  # whose product is divided by the root of the length
        assert network.product_bound > 2 * GAMMA
    assert network.attacked <= GAMMA


def test_without_it_the_product_keeps_gamma():
    task, model = built(gamma_by="product")
    gain = measured(model, task)
    assert model.relaxation is None
    assert gain.network.product_bound == pytest.approx(GAMMA, rel=1e-2)
    assert gain.network.declared_lengths == ()
    assert "relaxation" not in " ".join(model.state_dict())


@pytest.mark.parametrize("wrong", [1.01, math.sqrt(2)])
def test_a_factor_that_is_too_large_is_found(proved, wrong):
    """By the measurement, and by who proves a published network again."""
    task, model, honest = proved("unit")
    again = check_gains(model, honest, 64, TighterCheck(task.sizes, 10.0))
    assert again.rejected == ()
    model.relaxation.set(model.relaxation.factor * wrong, proved=model.digest())
    (violation,) = measured(model, task).violations
    assert "network: bound" in violation
    if wrong > 1.02:  # what the searches of two computers may end apart
        lie = check_gains(model, honest, 64, TighterCheck(task.sizes, 10.0))
        assert any("is proved here" in fault for fault in lie.rejected)
    hidden = dataclasses.replace(honest.network, declared_lengths=())
    silent = dataclasses.replace(honest, network=hidden)
    lie = check_gains(model, silent, 64, TighterCheck(task.sizes, 10.0))
    assert any("false declaration" in fault or "lengths" in fault for fault in lie.rejected)


def test_weights_that_have_changed_since_declare_nothing_and_a_lie_is_found(proved):
    task, model, _ = proved("unit")
    state = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.ones(2, 64, 1)).square().sum().backward()
    optimizer.step()
    assert model.declared_gain is None, "a step withdraws the proof, in evaluation mode too"
    network = measured(model, task).network
    assert (network.declared, network.declared_lengths) == (None, ())
    model.load_state_dict(state)
    assert model.declared_gain == GAMMA
    with torch.no_grad():
        for block in model.blocks:
            block.mix.weight.copy_(torch.eye(4))
            block.layer.parametrization.requires_grad_(False)
        model.encoder.weight.copy_(torch.ones_like(model.encoder.weight))
    assert model.declared_gain is None
    model.relaxation.set(model.relaxation.factor, proved=model.digest())
    assert model.declared_gain == GAMMA, "it is said to be proved"
    found = measured(model, task)
    assert bool(found.violations) == (found.network.bound > GAMMA * (1 + 1e-4))
    assert found.violations, "these weights have a larger gain"


def test_where_the_product_is_not_larger_it_stays():
    task, model = built(n_layers=1, residual="none", mix=False, nonlinearity="identity")
    torch.nn.init.eye_(model.decoder.weight)
    why = relax(model, task, 1e-6)
    assert "too large" in why
    assert (model.relaxation.factor, model.declared_gain) == (1.0, GAMMA)
    assert measured(model, task).network.declared_lengths == ()


def test_a_parameter_that_is_not_finite_gives_the_product():
    task, model = built()
    with torch.no_grad():
        model.encoder.weight.fill_(torch.nan)
    assert relax(model, task, 10.0) == "a parameter is not finite"
    assert model.relaxation.factor == 1.0


@pytest.mark.parametrize("interval", [1, 2])
def test_every_network_that_is_kept_keeps_gamma(tmp_path, interval):
    """The best weights and the last ones, from their files; and what is tested is what is saved."""
    trainer = {**ORDINARY["trainer"], "check_val_every_n_epoch": interval}
    config = resolve({**ORDINARY, "margin": 0.05, "select": "certified@0.01", "trainer": trainer})
    run = Run.of(config, tmp_path)
    run.create()
    run.folder.write_config(config)
    trained = train(config, run.folder.path)
    task = trained.task
    for name in ("best", "last"):
        state = load_checkpoint(run.folder.path / f"checkpoints/{name}.ckpt")["state_dict"]
        model = build_network(typed(config), task.sizes).eval()
        model.load_state_dict({k.removeprefix("model."): v for k, v in state.items()})
        assert model.relaxation.relaxed
        assert model.declared_gain == GAMMA
        found = measured(model, task)
        assert found.violations == ()
        assert 0.99 * GAMMA < found.network.bound <= GAMMA
    loaded = load_trained(run.folder.path).model
    u = task.sample_inputs("test", 8)
    assert torch.equal(loaded(u), trained.module.model.eval()(u))


def test_a_run_that_is_resumed_has_the_same_factor(mortal, tmp_path, monkeypatch):
    """It died in the second of two epochs, after the validation in its middle."""
    certified = {"gamma": 2.0, "gamma_by": "network_bound", "normaliser": "hinf"}
    trainer = {"val_check_interval": 0.5, "max_epochs": 2}
    config = mortal(model=certified, task={"name": "toy", "length": 6}, trainer=trainer)
    whole = train(config, tmp_path / "whole")
    resumed = interrupted(config, tmp_path / "parts", monkeypatch, 7)
    assert whole.module.model.relaxation.relaxed
    assert_same(resumed, whole)


@pytest.mark.parametrize("relaxed", [1.0, 1.2, 50.0])
def test_gains_of_pairs_are_at_most_what_the_whole_allows(relaxed):
    _, model = built()
    gains = declared_pair_gains(model.decoder, GAMMA, 8, 10, relaxed)
    rows = declared_pair_gains(model.decoder, GAMMA, 8, 10) * relaxed
    assert bool((gains <= math.sqrt(2) * GAMMA * (1 + 1e-6)).all())
    torch.testing.assert_close(gains, rows.clamp_max(math.sqrt(2) * GAMMA))


def test_lengths_are_those_of_every_split():
    task, _ = built()
    assert promised_lengths(task, per_step=False) == (64,)
    splits = {"train": [5, 9], "val": [7], "test": [11, 5]}
    uneven = SimpleNamespace(
        split=lambda name: PaddedSequences.of(
            [np.zeros((n, 1)) for n in splits[name]], [0] * len(splits[name]), per_step=False
        )
    )
    assert promised_lengths(uneven, per_step=False) == (5, 7, 9, 11)
    assert promised_lengths(uneven, per_step=True) == (11,)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": {**ORDINARY["model"], "gamma": None}}, "none is set"),
        ({"analysis": {"network_bound": 0}}, "set analysis.network_bound"),
        ({"model": {**ORDINARY["model"], "gamma_by": "bound"}}, "gamma_by"),
    ],
)
def test_what_cannot_keep_it_is_refused(changes, says):
    with pytest.raises(UsageError, match=says):
        check(typed(resolve({**ORDINARY, **changes})))
