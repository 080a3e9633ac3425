"""A network of a config against a plain statement of a published one: outputs and a step of Adam.

A statement is a function of the published parameters by their names, written in a test from the
publication and its code. The parameters of the network are given to it by these names, and after
one step on the same batch both must have the same parameters and outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from ssmbench.build.network import build_network
from ssmbench.build.optimizer import build_optimizer
from ssmbench.config import RunConfig, resolve_component, resolve_model
from ssmbench.nn.model import SequenceModel
from ssmbench.registry import optimizers
from ssmbench.spec import Channels, TaskSizes

CHANNELS, CLASSES, BATCH, LENGTH = 3, 5, 4, 9
LR, SSM_LR, DECAY = 4e-3, 1e-3, 0.05
EXACT = {"rtol": 1e-9, "atol": 1e-9}

Values = dict[str, Tensor]


@dataclass
class Rates:
    """Learning rate and weight decay of a published parameter."""

    lr: float = LR
    decay: float = DECAY


def network_of(model: Mapping[str, Any], optimizer: Mapping[str, Any]) -> tuple[Any, Any]:
    """The network of a config for sequences of channels with one class each, float64, every
    parameter moved at random; and its optimizer."""
    torch.manual_seed(0)
    sizes = TaskSizes(Channels(CHANNELS), CLASSES, length=LENGTH, per_step=False)
    network = build_network(RunConfig(model=resolve_model(model, "test")), sizes).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    rates = {"lr": LR, "ssm_lr": SSM_LR, "weight_decay": DECAY}
    component = resolve_component(optimizers, {"name": "adamw", **rates, **optimizer}, "test")
    return network, build_optimizer(network, component)


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    u = torch.randn(BATCH, LENGTH, CHANNELS, dtype=torch.float64, generator=generator)
    return u, torch.arange(BATCH) % CLASSES


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    return -log_softmax(logits, -1)[torch.arange(len(labels)), labels].mean()


def first_adam_step(value: Tensor, gradient: Tensor, rates: Rates) -> Tensor:
    """Loshchilov and Hutter 2019, algorithm 2, at t = 1, with the decay times the learning rate."""
    beta1, beta2, eps = 0.9, 0.999, 1e-8
    m, v = (1 - beta1) * gradient, (1 - beta2) * gradient.square()
    direction = (m / (1 - beta1)) / ((v / (1 - beta2)).sqrt() + eps)
    return value - rates.lr * (direction + rates.decay * value)


def check_parity(
    network: SequenceModel,
    optimizer: torch.optim.Optimizer,
    published: Callable[[SequenceModel], Values],
    statement: Callable[[Values, Tensor, bool], Tensor],
    rates: Callable[[str], Rates],
) -> None:
    """``statement(values, u, training)`` gives the logits (B, classes)."""
    u, labels = batch()
    values = {k: v.detach().clone().requires_grad_() for k, v in published(network).items()}
    logits, expected = network.train()(u), statement(values, u, True)
    torch.testing.assert_close(logits, expected, **EXACT)
    loss_of(logits, labels).backward()
    optimizer.step()
    gradients = torch.autograd.grad(loss_of(expected, labels), list(values.values()))
    pairs = zip(values.items(), gradients, strict=True)
    after = {k: first_adam_step(v.detach(), g, rates(k)) for (k, v), g in pairs}
    moved = published(network)
    for name, value in after.items():
        torch.testing.assert_close(moved[name].detach(), value, **EXACT, msg=f"{name} after a step")
        assert not torch.equal(value, values[name].detach()), f"{name} was not trained"
    torch.testing.assert_close(network(u), statement(after, u, True), **EXACT)


def count(values: Values) -> int:
    """The number of real numbers."""
    return sum(value.numel() for value in values.values())
