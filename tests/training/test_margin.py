"""Margins of a declared gain: the loss against its formula, and what chooses the weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from ssmbench.build.network import build_network
from ssmbench.build.task import build_task
from ssmbench.config import resolve, typed
from ssmbench.errors import UsageError
from ssmbench.nn.certified import declared_pair_gains
from ssmbench.tasks.batch import UNSCORED, Batch
from ssmbench.training.check import check
from ssmbench.training.margin import margins_of, pessimistic, typical_norm
from tests.training.runs import losses, rows, train

CERTIFIED = {
    "task": "digits",
    "model": {
        "d_model": 4,
        "n_layers": 1,
        "frame": 8,
        "gamma": 5.0,
        "parametrization": {"name": "contraction", "d_state": 4},
        "nonlinearity": "groupsort",
        "pooling": "unit",
        "mix": False,
        "residual": "none",
    },
    "batch_size": 64,
}


def built(**changes):
    torch.manual_seed(0)
    run = typed(resolve({**CERTIFIED, **changes}))
    return run, build_task(run), build_network(run, build_task(run).sizes)


def test_the_loss_raises_wrong_logits_by_what_the_gain_of_their_pair_allows():
    """log sum exp(z_b - z_a + g_ab r) over all classes b, written out."""
    run, task, model = built(margin=0.05)
    margins = margins_of(run, task)
    batch = Batch(torch.zeros(6, 64, 1), torch.randint(10, (6,)))
    z = torch.randn(6, 10)
    found = cross_entropy(margins.in_training(model, z, batch), batch.target)
    rows_ = model.decoder.weight * (5.0 / torch.linalg.matrix_norm(model.decoder.weight, 2))
    expected = 0.0
    for logits, a in zip(z, batch.target.tolist(), strict=True):
        distances = (rows_ - rows_[a]).norm(dim=1)
        expected += torch.logsumexp(logits - logits[a] + 0.05 * margins.typical * distances, 0) / 6
    torch.testing.assert_close(found, expected)
    found.backward()
    assert model.decoder.weight.grad.abs().sum() > 0, "the decoder learns to need less margin"


def test_the_declared_gains_of_pairs_are_at_most_those_of_the_whole():
    model = built()[2]
    gains = declared_pair_gains(model.decoder, 5.0, 8, 10)
    assert bool((gains <= math.sqrt(2) * 5.0 * (1 + 1e-6)).all())
    bound = model.pair_gains([1.0], 64)
    torch.testing.assert_close(gains.double(), bound.matrix, rtol=1e-5, atol=1e-6)


def test_the_typical_norm_is_that_of_the_training_inputs():
    task = built()[1]
    u = task.split("train").u.double().flatten(1)
    assert typical_norm(task) == pytest.approx(u.norm(dim=1).square().mean().sqrt().item())


def test_of_steps_only_the_scored_ones_are_raised():
    _, _, model = built()
    torch.manual_seed(0)
    z = torch.randn(2, 5, 10)
    target = torch.tensor([[1, UNSCORED, 3], [UNSCORED, 2, 0]])
    raised = pessimistic(model, z, Batch(torch.zeros(2, 5, 1), target), 1.0) - z
    assert bool((raised[:, :2] == 0).all())
    assert bool((raised[:, 2:][target == UNSCORED] == 0).all())
    of_right = raised[:, 2:].gather(2, target.clamp_min(0)[..., None])[..., 0]
    assert bool((of_right == 0).all())
    assert (raised[:, 2:][target != UNSCORED] > 0).sum() == 4 * 9


def test_weights_are_those_of_the_best_certified_validation(tmp_path):
    """The monitor is logged, and what is tested are the weights at its maximum."""
    small = {"limit_train_batches": 4, "max_epochs": 4, "devices": 1, "accelerator": "cpu"}
    config = resolve(
        {
            **CERTIFIED,
            "trainer": small,
            "optimizer": {"lr": 0.05},
            "margin": 0.01,
            "select": "certified@0.003",
            "analysis": {"every_n_epochs": 0},
        }
    )
    trained = train(config, tmp_path)
    key = "val/certified@0.003"
    logged = {row["step"]: row for row in rows(tmp_path) if key in row}
    assert len(logged) == 4
    assert all(row[key] <= row["val/accuracy"] for row in logged.values())
    best = max(logged.values(), key=lambda row: row[key])
    assert trained.scores.val == pytest.approx(best["val/accuracy"])


def test_a_margin_changes_the_training_and_no_score_of_given_weights(tmp_path):
    still = {**CERTIFIED, "optimizer": {"lr": 0.0, "ssm_lr": 0.0}}
    still["trainer"] = {"max_epochs": 1, "limit_train_batches": 2, "log_every_n_steps": 1}
    still["trainer"] |= {"devices": 1, "accelerator": "cpu"}
    plain = train(resolve(still), tmp_path / "plain")
    asked = train(resolve({**still, "margin": 0.1}), tmp_path / "asked")
    assert asked.scores == plain.scores
    first, second = losses(tmp_path / "plain"), losses(tmp_path / "asked")
    assert all(second[step] > loss for step, loss in first.items())


@pytest.mark.parametrize("option", [{"margin": 0.1}, {"select": "certified@0.03"}])
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": {**CERTIFIED["model"], "gamma": None}}, "set model.gamma"),
        ({"task": "cascaded_tanks"}, "scored by rmse"),
        ({"task": "associative_recall"}, "inputs that have a norm"),
    ],
)
def test_without_a_declared_margin_it_is_refused_with_the_reason(option, changes, says):
    config = {**CERTIFIED, **option, **changes}
    if config["task"] != "digits":  # others have steps that are predicted one by one
        config["model"] = {**CERTIFIED["model"], "frame": 1}
    with pytest.raises(UsageError, match=says):
        check(typed(resolve(config)))


@pytest.mark.parametrize(
    "value", ["certified", "certified@0", "certified@-1", "loss", "certified@x"]
)
def test_what_selects_is_checked(value):
    with pytest.raises(UsageError, match="select: must be score, or certified@E"):
        resolve({**CERTIFIED, "select": value})
