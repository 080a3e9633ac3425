"""The conformance kit's part for tasks: sizes as declared, finite data, a loss and a score."""

from __future__ import annotations

import torch

from ssmbench.nn.contracts import check_built
from ssmbench.tasks.base import Task
from ssmbench.testing.report import Subject


def builds(subject: Subject) -> None:
    """It can be built before its data are read."""
    check_built(subject.entry, subject.build(batch_size=2, seed=0), Task)


def batches_as_declared(subject: Subject) -> None:
    """Sizes as declared before loading, finite data, a finite loss and a score."""
    task = subject.build(batch_size=2, seed=0)
    sizes = task.sizes
    for split in ("train", "val", "test"):
        batch = next(iter(getattr(task, f"{split}_dataloader")()))
        u = batch.u
        assert u.shape[-1] == sizes.sequence.count, f"{split}: inputs differ"
        assert torch.isfinite(u).all(), f"{split}: inputs are not finite"
        shape = (*u.shape[:2], sizes.outputs) if sizes.per_step else (len(u), sizes.outputs)
        prediction = torch.zeros(shape)
        loss = task.batch_loss(prediction, batch)
        assert torch.isfinite(loss), f"{split}: the loss is not finite"
        metrics = task.metrics()
        metrics.update(*task.batch_metric(prediction, batch))
        assert task.score in metrics.compute(), f"no metric called {task.score}"


CHECKS = (builds, batches_as_declared)
