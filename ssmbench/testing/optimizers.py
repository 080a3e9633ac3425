"""The conformance kit's part for optimizers: descent, schedule, and going on."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from ssmbench.config import OptimizerConfig
from ssmbench.registry import Entry


def conform_optimizer(entry: Entry[torch.optim.Optimizer]) -> None:
    """It lowers a quadratic function, obeys the schedule, and goes on exactly from its state."""
    assert issubclass(entry.config, OptimizerConfig), (
        f"{entry.name}: its config must derive from OptimizerConfig, whose options every run has"
    )
    trial = QuadraticTrial(entry)
    start = trial.loss().item()
    trial.run(30)
    assert trial.loss() < start, f"{entry.name}: does not lower a quadratic function in 30 steps"
    _check_schedule(entry)
    _check_resumed(entry)


class QuadraticTrial:
    """``||H^(1/2) x||^2 / 2`` with curvatures in [0.1, 1], over parameters of several shapes."""

    def __init__(self, entry: Entry[torch.optim.Optimizer]):
        config = entry.config()
        shapes = [(), (2,), (3, 2)]
        self.parameters = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
        basis = torch.linalg.qr(torch.randn(9, 9)).Q
        self._root = basis * torch.linspace(0.1, 1, 9).sqrt()
        rates = zip(self.parameters, (config.ssm_lr, config.lr, config.lr), strict=True)
        decays = (0.0, 0.0, config.weight_decay)
        groups = [
            {"params": [p], "lr": lr, "weight_decay": decay}
            for (p, lr), decay in zip(rates, decays, strict=True)
        ]
        self.optimizer = entry.build(groups=groups)

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


def _check_schedule(entry: Entry[torch.optim.Optimizer]) -> None:
    trial = QuadraticTrial(entry)
    trial.run(2)
    before = [p.detach().clone() for p in trial.parameters]
    for group in trial.optimizer.param_groups:
        group["lr"] = 0.0
    trial.run(1)
    kept = all(map(torch.equal, before, trial.parameters))
    assert kept, f"{entry.name}: moves at a learning rate of 0, so it ignores the schedule"


def _check_resumed(entry: Entry[torch.optim.Optimizer]) -> None:
    trial = QuadraticTrial(entry)
    trial.run(3)
    again = copy.copy(trial)
    again.parameters = [torch.nn.Parameter(p.detach().clone()) for p in trial.parameters]
    again.optimizer = entry.build(
        groups=[
            {**group, "params": [parameter]}
            for group, parameter in zip(trial.optimizer.param_groups, again.parameters, strict=True)
        ]
    )
    again.optimizer.load_state_dict(copy.deepcopy(trial.optimizer.state_dict()))
    for run in (trial, again):
        run.run(3)
    same = all(map(torch.equal, trial.parameters, again.parameters))
    assert same, f"{entry.name}: goes on differently from its state_dict"
