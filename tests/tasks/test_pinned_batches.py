"""Batches for a GPU are in pinned memory, and the host does not wait for their copies."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ssmbench.tasks.batch import Batch
from ssmbench.training.data_module import DataModule
from tests.tasks.tiny import tiny_task


def task_on(device: str):
    """A task with a trainer whose network is on that device."""
    task = tiny_task("digits")
    strategy = SimpleNamespace(root_device=torch.device(device))
    data = DataModule(task)
    data.trainer = SimpleNamespace(world_size=1, global_rank=0, strategy=strategy)
    data.setup("fit")
    return task


@pytest.mark.parametrize(("device", "pinned"), [("cuda:0", True), ("cpu", False), ("mps", False)])
def test_loaders_pin_for_a_gpu_only(device, pinned):
    task = task_on(device)
    loaders = task.train_dataloader(), task.val_dataloader(), task.test_dataloader()
    assert [loader.pin_memory for loader in loaders] == [pinned] * 3


def test_every_tensor_of_a_batch_is_pinned(monkeypatch):
    """Without a GPU no memory can be: what is asked for is noted."""
    asked = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda t: (asked.append(t), t)[1])
    batch = next(iter(task_on("cuda:0").train_dataloader()))
    assert [id(t) for t in asked] == [id(t) for t in batch if t is not None]
    next(iter(task_on("cpu").train_dataloader()))
    assert len(asked) == len([t for t in batch if t is not None])


class Copies(TorchDispatchMode):
    """Notes of every copy to another device or dtype whether the host waits for it."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._to_copy.default:
            self.waits.append(not (kwargs or {}).get("non_blocking", False))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("pinned", [True, False])
def test_the_host_waits_for_copies_of_ordinary_memory_only(pinned, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda _: pinned)
    with Copies() as copies:
        moved = Batch(torch.zeros(2, 3, 1), torch.zeros(2, dtype=torch.int64)).to("meta")
    assert moved.u.device.type == "meta"
    assert copies.waits == [not pinned] * 2
