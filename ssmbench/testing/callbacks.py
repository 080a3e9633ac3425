"""Conformance checks of callbacks: they take part in a training, and their state can be stored."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import torch

from ssmbench.build.network import build_network
from ssmbench.build.task import build_task
from ssmbench.config import RunConfig, resolve, typed
from ssmbench.testing.report import Subject
from ssmbench.training.chosen_callbacks import check_callback
from ssmbench.training.data_module import DataModule
from ssmbench.training.lightning_trainer import build_trainer, quiet_lightning
from ssmbench.training.module import SequenceModule

_SMALL: dict[str, Any] = {
    "task": "digits",
    "batch_size": 8,
    "model": {"d_model": 2, "n_layers": 1, "parametrization": "l2ru"},
    "trainer": {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 2,
        "limit_train_batches": 2,
        "limit_val_batches": 1,
        "log_every_n_steps": 1,
    },
}


def builds(subject: Subject) -> None:
    """It can be built, and is a callback of Lightning."""
    check_callback(subject.entry, subject.build(task=build_task(_run())))


def a_training_ends(subject: Subject) -> None:
    """A small training with it ends, with finite weights."""
    module, _ = _trained(subject)
    finite = all(bool(torch.isfinite(p).all()) for p in module.parameters())
    assert finite, "after a small training with it a parameter is not finite"


def its_state_can_be_stored(subject: Subject) -> None:
    """What ``state_dict`` gives after a training is read back without running any code, and a new
    callback takes it."""
    _, callback = _trained(subject)
    file = io.BytesIO()
    torch.save(callback.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    other = subject.build(task=build_task(_run()))
    other.load_state_dict(state)
    assert repr(other.state_dict()) == repr(callback.state_dict()), (
        "load_state_dict does not restore what state_dict gave: a resumed run would differ"
    )


CHECKS = (builds, a_training_ends, its_state_can_be_stored)


def _run() -> RunConfig:
    return typed(resolve(_SMALL))


@quiet_lightning()
def _trained(subject: Subject) -> tuple[SequenceModule, Any]:
    run = _run()
    task = build_task(run)
    module = SequenceModule(build_network(run, task.sizes), task, run.optimizer)
    callback = subject.build(task=task)
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(run, Path(folder), [callback])
        trainer.fit(module, datamodule=DataModule(task))
    return module, callback
