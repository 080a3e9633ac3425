"""The data of a task as a Trainer of Lightning reads them."""

from __future__ import annotations

import lightning.pytorch as pl
import torch

from ssmbench.tasks.base import Task
from ssmbench.tasks.batch import Batch
from ssmbench.tasks.order import Batches


class DataModule(pl.LightningDataModule):
    """Gives a trainer the batches of a task, each rank its own.

    The trainer must be built with ``use_distributed_sampler=False``: the task divides its sequences
    among the ranks by itself, as the trainer of this data module, once it has one, counts them.
    """

    def __init__(self, task: Task):
        super().__init__()
        self.task = task

    def setup(self, stage: str) -> None:
        """Load the data; the task knows its ranks from now on."""
        self.task.trainer = self.trainer
        if self.trainer is not None:
            self.task.pin_memory = self.trainer.strategy.root_device.type == "cuda"
        self.task.setup(stage)

    def train_dataloader(self) -> Batches:
        return self.task.train_dataloader()

    def val_dataloader(self) -> Batches:
        return self.task.val_dataloader()

    def test_dataloader(self) -> Batches:
        return self.task.test_dataloader()

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        return batch.to(device)
