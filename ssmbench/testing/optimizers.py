"""The conformance kit's part for optimizers: descent, schedule, and resumption."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from ssmbench.build.optimizer import check_optimizer
from ssmbench.optimizers.base import OptimizerConfig
from ssmbench.testing.report import Subject


def builds(subject: Subject) -> None:
    """It is an optimizer over all parameters of its groups."""
    trial = QuadraticTrial(subject)
    check_optimizer(subject.entry, trial.optimizer, trial.groups)


def config_has_the_options_of_every_run(subject: Subject) -> None:
    """Its config derives from OptimizerConfig."""
    assert isinstance(subject.options, OptimizerConfig), (
        "its config must derive from OptimizerConfig, whose options every run has"
    )


def lowers_a_quadratic_function(subject: Subject) -> None:
    """30 steps end below the start."""
    trial = QuadraticTrial(subject)
    start = trial.loss().item()
    trial.run(30)
    assert trial.loss() < start, "does not lower a quadratic function in 30 steps"


def obeys_the_schedule(subject: Subject) -> None:
    """A learning rate of 0 moves nothing."""
    trial = QuadraticTrial(subject)
    trial.run(2)
    before = [p.detach().clone() for p in trial.parameters]
    for group in trial.optimizer.param_groups:
        group["lr"] = 0.0
    trial.run(1)
    kept = all(map(torch.equal, before, trial.parameters))
    assert kept, "moves at a learning rate of 0, so it ignores the schedule"


def continues_from_its_state(subject: Subject) -> None:
    """From its ``state_dict`` it takes exactly the steps that it would have taken."""
    trial = QuadraticTrial(subject)
    trial.run(3)
    again = copy.copy(trial)
    again.parameters = [torch.nn.Parameter(p.detach().clone()) for p in trial.parameters]
    again.optimizer = subject.build(
        groups=[
            {**group, "params": [parameter]}
            for group, parameter in zip(trial.optimizer.param_groups, again.parameters, strict=True)
        ],
    )
    again.optimizer.load_state_dict(copy.deepcopy(trial.optimizer.state_dict()))
    for run in (trial, again):
        run.run(3)
    same = all(map(torch.equal, trial.parameters, again.parameters))
    assert same, "takes other steps from its state_dict"


CHECKS = (
    builds,
    config_has_the_options_of_every_run,
    lowers_a_quadratic_function,
    obeys_the_schedule,
    continues_from_its_state,
)


class QuadraticTrial:
    """``||H^(1/2) x||^2 / 2`` with curvatures in [0.1, 1], over parameters of several shapes."""

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
