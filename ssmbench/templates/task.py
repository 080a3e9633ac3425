from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import mse_loss
from torchmetrics import MeanSquaredError, MetricCollection

from ssmbench.registry import tasks
from ssmbench.spec import Channels, TaskSizes
from ssmbench.tasks.base import Task
from ssmbench.tasks.sequences import Sequences, Splits


@dataclass
class EchoConfig:
    """White noise of ``length`` steps, to be repeated ``delay`` steps later."""

    length: int = 64
    delay: int = 8
    sequences: int = 128


@tasks.register("echo", config=EchoConfig, citation="this work")
class Echo(Task):
    """Repeat the input some steps later: how long is the network's memory?"""

    score = "rmse"
    higher_is_better = False
    config: EchoConfig

    @property
    def sizes(self) -> TaskSizes:
        return TaskSizes(Channels(1), outputs=1, length=self.config.length, per_step=True)

    @property
    def source(self) -> str:
        return "white noise"

    def load(self) -> Splits:
        generator = torch.Generator().manual_seed(0)  # the same data for every seed of a run
        train, val, test = (self._draw(generator) for _ in range(3))
        return Splits(train, val, test)

    def _draw(self, generator: torch.Generator) -> Sequences:
        size = (self.config.sequences, self.config.length, 1)
        u = torch.randn(size, generator=generator)
        target = u.roll(self.config.delay, 1)
        target[:, : self.config.delay] = 0
        return Sequences(u, target)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return mse_loss(prediction, target)

    def metrics(self) -> MetricCollection:
        return MetricCollection({"rmse": MeanSquaredError(squared=False)})
