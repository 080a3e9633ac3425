"""Scores under disturbances: of the energy that is said, worse where an adversary chooses them."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn
from torchmetrics import MeanSquaredError, MetricCollection

from ssmbench.config import AnalysisConfig
from ssmbench.nn.blocks.base import Residual
from ssmbench.nn.model import SequenceModel
from ssmbench.parametrizations.base import Parametrization
from ssmbench.spec import Channels, TaskSizes
from ssmbench.systems import DiscreteDense
from ssmbench.tasks.base import Task
from ssmbench.tasks.sequences import Sequences, Splits
from ssmbench.training.robustness import ENERGIES, KINDS, robustness
from tests.builders import build_block, build_layer, build_model

LENGTH, SEQUENCES = 12, 10
CONFIG = AnalysisConfig(robustness_steps=4, robustness_sequences=8)


class Following(Task):
    """y = u, per step; scored by the root mean square error."""

    score, higher_is_better = "rmse", False
    sizes = TaskSizes(Channels(2), outputs=2, length=LENGTH, per_step=True)
    source = "drawn"

    def load(self):
        def draw(seed):
            generator = torch.Generator().manual_seed(seed)
            u = torch.randn(SEQUENCES, LENGTH, 2, generator=generator)
            return Sequences(u, u.clone())

        return Splits(*map(draw, range(3)))

    def loss(self, prediction, target):
        return nn.functional.mse_loss(prediction, target)

    def metrics(self):
        return MetricCollection({"rmse": MeanSquaredError(squared=False)})

    def to_metric(self, prediction, target):
        return prediction.flatten().float(), target.flatten().float()


class Static(Parametrization):
    """y = D u."""

    system_type = DiscreteDense
    stable_by_construction = True
    no_discretizer_reason = "it has no dynamics"

    def __init__(self, D):
        super().__init__()
        self.D = nn.Parameter(D)

    def forward(self):
        zero = torch.zeros(1, 2, 2, device=self.D.device).to(self.D)
        return DiscreteDense(A=zero, B=zero, C=zero, D=self.D[None])


def linear(first: float, second: float) -> SequenceModel:
    """The map u -> (first u0, second u1) as a network."""
    layer = build_layer(Static(torch.diag(torch.tensor([first, second], dtype=torch.float32))))
    block = build_block(layer, "identity", 2, mix=False, residual=Residual.none)
    model = build_model([block], inputs=2, d_model=2, outputs=2)
    with torch.no_grad():
        for part in (model.encoder, model.decoder):
            part.weight.copy_(torch.eye(2))
            part.bias.zero_()
    return model


def task(batch_size: int = 4) -> Following:
    return Following(None, batch_size=batch_size, seed=0)


def curve(found, kind):
    return [point.score for point in found if point.kind == kind]


def typical() -> float:
    u = task().split("test").u[: CONFIG.robustness_sequences]
    return u.flatten(1).norm(dim=1).square().mean().sqrt().item()


def expected(gain: float) -> list[float]:
    """RMSE of a perfect follower when a disturbance of each energy passes with a gain."""
    return [e * typical() * gain / math.sqrt(LENGTH * 2) for e in ENERGIES]


def test_there_is_a_point_for_every_energy_and_kind():
    found = robustness(linear(1, 1), task(), CONFIG)
    assert [(p.kind, p.energy) for p in found] == [(k, e) for k in KINDS for e in ENERGIES]
    assert ENERGIES[0] == 0
    assert list(ENERGIES) == sorted(ENERGIES)


def test_disturbances_have_exactly_the_energy_that_is_said():
    """Through the identity, whose error is the disturbance, whatever its direction."""
    found = robustness(linear(1, 1), task(), CONFIG)
    for kind in KINDS:
        assert curve(found, kind) == pytest.approx(expected(1.0), rel=1e-4, abs=1e-6)


def test_the_adversary_finds_the_channel_that_amplifies():
    """u0 passes 5 times, u1 not at all: chance excites u0 with half of its energy."""
    followed = task()
    followed.split("test").target.mul_(torch.tensor([5.0, 0.0]))
    found = robustness(linear(5, 0), followed, CONFIG)
    assert curve(found, "adversarial") == pytest.approx(expected(5.0), rel=0.02, abs=1e-6)
    by_chance = curve(found, "random")[-1] / expected(5.0)[-1]
    assert 0.6 < by_chance < 0.8


def test_the_curve_is_the_same_whatever_the_batches():
    small, large = (robustness(linear(3, 1), task(n), CONFIG) for n in (2, 8))
    for kind in KINDS:
        assert curve(small, kind)[0] == pytest.approx(curve(large, kind)[0], rel=1e-5)
        assert curve(small, kind) == pytest.approx(curve(large, kind), rel=0.1)


def test_undisturbed_score_is_that_of_the_test_split():
    model, data = linear(2, 1), task().split("test")
    with torch.no_grad():
        error = (model(data.u[:8]) - data.target[:8]).square().mean().sqrt().item()
    found = robustness(model, task(), CONFIG)
    assert [p.score for p in found if p.energy == 0] == pytest.approx([error, error])


def test_deterministic_and_leaves_model_and_generator_alone():
    model = linear(2, 1).train()
    random = torch.get_rng_state()
    first = robustness(model, task(), CONFIG)
    assert torch.equal(torch.get_rng_state(), random)
    torch.rand(3)
    assert robustness(model, task(), CONFIG) == first
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    other = dataclasses.replace(CONFIG, attack_seed=1)
    assert robustness(model, task(), other) != first


def test_few_sequences_are_disturbed_at_random_more_than_once():
    class Alone(Following):
        """With one sequence in its test split."""

        def load(self):
            whole = super().load()
            test = Sequences(whole.test.u[:1], whole.test.target[:1])
            return Splits(whole.train, whole.val, test)

    alone, model, seen = Alone(None, batch_size=4, seed=0), linear(1, 1), []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    robustness(model, alone, dataclasses.replace(CONFIG, robustness_sequences=1))
    once = len(seen)
    robustness(model, alone, CONFIG)
    assert len(seen) - once == once + 7 * len(ENERGIES), "8 draws in place of 1"


# --- what goes wrong ----------------------------------------------------------------------------


def test_no_tensor_is_made_on_another_device():
    loaded, unread, model = task(), task(), linear(2, 1)
    expected = robustness(model, loaded, CONFIG)
    with torch.device("meta"):
        assert robustness(model, loaded, CONFIG) == expected
        assert robustness(model, unread, CONFIG) == expected


def test_switched_off_there_is_no_curve():
    off = dataclasses.replace(CONFIG, robustness=False)
    assert robustness(linear(1, 1), task(), off) == []


def test_parameters_that_are_not_finite_give_no_curve():
    assert robustness(linear(math.nan, 1), task(), CONFIG) == []


def test_predictions_that_overflow_have_no_score():
    found = robustness(linear(3e38, 1), task(), CONFIG)
    assert {point.score for point in found} == {None}


def test_a_network_that_does_not_listen_has_a_flat_curve():
    found = robustness(linear(0, 0), task(), CONFIG)
    assert {round(point.score, 6) for point in found} == {round(found[0].score, 6)}


def test_double_precision():
    single, double = (robustness(m, task(), CONFIG) for m in (linear(2, 1), linear(2, 1).double()))
    for kind in KINDS:
        assert curve(single, kind) == pytest.approx(curve(double, kind), rel=1e-3)
