"""Conformance checks of optimizers: descent, learning rate and resumption."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from ssmbench.build.optimizer import check_optimizer
from ssmbench.optimizers.base import OptimizerConfig
from ssmbench.testing.report import Subject


def builds(subject: Subject) -> None:
    """It can be built, and optimizes all parameters of the given groups."""
    trial = QuadraticTrial(subject)
    check_optimizer(subject.entry, trial.optimizer, trial.groups)


def config_has_the_options_of_every_run(subject: Subject) -> None:
    """Its config class derives from OptimizerConfig."""
    assert isinstance(subject.options, OptimizerConfig), (
        "its config class must derive from OptimizerConfig, whose options every run has"
    )


def reduces_a_quadratic_loss(subject: Subject) -> None:
    """After 30 steps, the loss is below its initial value."""
    trial = QuadraticTrial(subject)
    start = trial.loss().item()
    trial.run(30)
    assert trial.loss() < start, "does not reduce a quadratic loss in 30 steps"


def follows_the_learning_rate(subject: Subject) -> None:
    """At a learning rate of 0, no parameter changes."""
    trial = QuadraticTrial(subject)
    trial.run(2)
    before = [p.detach().clone() for p in trial.parameters]
    for group in trial.optimizer.param_groups:
        group["lr"] = 0.0
    trial.run(1)
    same = all(map(torch.equal, before, trial.parameters))
    assert same, "changes parameters at a learning rate of 0: it ignores the schedule"


def resumes_from_its_state_dict(subject: Subject) -> None:
    """After ``load_state_dict``, its steps are exactly those of the uninterrupted optimizer."""
    trial = QuadraticTrial(subject)
    trial.run(3)
    resumed = copy.copy(trial)
    resumed.parameters = [torch.nn.Parameter(p.detach().clone()) for p in trial.parameters]
    resumed.optimizer = subject.build(
        groups=[
            {**group, "params": [parameter]}
            for group, parameter in zip(
                trial.optimizer.param_groups, resumed.parameters, strict=True
            )
        ],
    )
    resumed.optimizer.load_state_dict(copy.deepcopy(trial.optimizer.state_dict()))
    for each in (trial, resumed):
        each.run(3)
    same = all(map(torch.equal, trial.parameters, resumed.parameters))
    assert same, "steps after load_state_dict differ from those without an interruption"


CHECKS = (
    builds,
    config_has_the_options_of_every_run,
    reduces_a_quadratic_loss,
    follows_the_learning_rate,
    resumes_from_its_state_dict,
)


class QuadraticTrial:
    """The loss x^T H x / 2, where H has eigenvalues in [0.1, 1] and x is split into parameters of
    several shapes, with an optimizer for it.
    """

    def __init__(self, subject: Subject):
        config = subject.options
        shapes = [(), (2,), (3, 2)]
        self.parameters = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
        basis = torch.linalg.qr(torch.randn(9, 9)).Q
        self._root = basis * torch.linspace(0.1, 1, 9).sqrt()
        rates = zip(self.parameters, (config.ssm_lr, config.lr, config.lr), strict=True)
        decays = (0.0, 0.0, config.weight_decay)
        self.groups = [
            {"params": [p], "lr": lr, "weight_decay": decay}
            for (p, lr), decay in zip(rates, decays, strict=True)
        ]
        self.optimizer = subject.build(groups=[dict(group) for group in self.groups])

    def loss(self) -> Tensor:
        x = torch.cat([p.flatten() for p in self.parameters])
        return (self._root.T @ x).square().sum() / 2

    def closure(self) -> Tensor:
        loss = self.loss()
        self.optimizer.zero_grad()
        loss.backward()
        return loss

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.optimizer.step(self.closure)
