"""The conformance kit's part for tasks: sizes as declared, finite data, a loss and a score."""

from __future__ import annotations

import torch

from ssmbench.registry import Entry


def conform_task(entry: Entry) -> None:
    """Sizes as declared before loading, finite data, a finite loss and a score."""
    task = entry.build(batch_size=2, seed=0)
    sizes = task.sizes
    for split in ("train", "val", "test"):
        u, target = next(iter(getattr(task, f"{split}_dataloader")()))
        assert u.shape[-1] == sizes.inputs, f"{entry.name}: {split}: inputs differ from sizes"
        assert torch.isfinite(u).all(), f"{entry.name}: {split}: inputs are not finite"
        shape = (*u.shape[:2], sizes.outputs) if sizes.per_step else (len(u), sizes.outputs)
        prediction = torch.zeros(shape)
        loss = task.loss(prediction, target)
        assert torch.isfinite(loss), f"{entry.name}: {split}: the loss is not finite"
        metrics = task.metrics()
        metrics.update(*task.to_metric(prediction, target))
        assert task.score in metrics.compute(), f"{entry.name}: no metric called {task.score}"
