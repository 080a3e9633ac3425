"""The learning rates in the log."""

from __future__ import annotations

from lightning.pytorch.callbacks import LearningRateMonitor

from ssmbench.registry import NoOptions, callbacks
from ssmbench.tasks.base import Task


@callbacks.register(
    "learning_rates",
    summary="Logs the learning rate of every group of parameters, wherever the loss is logged",
)
class LearningRates(LearningRateMonitor):
    """Lightning's ``LearningRateMonitor``, step by step."""

    def __init__(self, config: NoOptions, *, task: Task):
        super().__init__(logging_interval="step")
