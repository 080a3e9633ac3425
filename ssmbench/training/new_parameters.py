"""A training that goes on after some of the network's parameters were replaced by others."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ssmbench.training.module import SequenceModule


def take_new_parameters(trainer: pl.Trainer, module: SequenceModule) -> None:
    """Let the optimizer and its schedule go on with the parameters that the network has now.

    The optimizer is a new one, with the groups that a network of these parameters has from the
    start, so that it can be resumed; what it noted of parameters that are still there is kept. The
    learning rates go on as if there had been one schedule.
    """
    (old,), (scheduled,) = trainer.optimizers, trainer.lr_scheduler_configs
    made = module.configure_optimizers()
    new, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    _keep_notes(old, new)
    _keep_step(scheduled.scheduler, schedule)
    trainer.strategy.optimizers = [new]
    scheduled.scheduler = schedule


def _keep_notes(old: Optimizer, new: Optimizer) -> None:
    """What was noted of each single parameter, by moments of its shape and by counters."""
    for group in new.param_groups:
        for parameter in group["params"]:
            noted = old.state.get(parameter)
            if noted and all(_is_of(parameter, value) for value in noted.values()):
                new.state[parameter] = noted


def _is_of(parameter: torch.Tensor, value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.shape in (parameter.shape, ())
    return value is None or isinstance(value, int | float)


def _keep_step(old: Any, new: Any) -> None:
    """The step, and the factor of the rates there, of a schedule with one function for all."""
    assert isinstance(old, LRScheduler)
    state = old.state_dict()
    own = {key: new.state_dict()[key] for key in ("base_lrs", "_last_lr")}
    functions = state["lr_lambdas"][:1] * len(own["base_lrs"])
    new.load_state_dict({**state, **own, "lr_lambdas": functions})
    factor = new.lr_lambdas[0](new.last_epoch)
    new._last_lr = [rate * factor for rate in new.base_lrs]
    for group, rate in zip(new.optimizer.param_groups, new._last_lr, strict=True):
        group["lr"] = rate
