"""Averaged weights, which are those that a run validates, keeps and tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import lightning.pytorch as pl
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from ssmbench.options import PROPER_FRACTION, option
from ssmbench.registry import callbacks
from ssmbench.tasks.base import Task
from ssmbench.training.module import SequenceModule


@dataclass
class AverageConfig:
    """How far the average looks back."""

    #: Weight of the average in each step, once there were many steps; the present weights have the
    #: rest. The average is over about 1 / (1 - decay) steps.
    decay: float = option(0.999, PROPER_FRACTION)


@callbacks.register(
    "ema",
    config=AverageConfig,
    citation="B.T. Polyak, A.B. Juditsky, Acceleration of stochastic approximation by averaging, "
    "SIAM J. Control Optim. 30(4), 1992; the decay of the first steps as in TensorFlow's "
    "ExponentialMovingAverage",
    summary="Exponential moving average of the weights, which is validated, kept and tested",
)
class WeightAverage(WeightAveraging):
    """w <- d w + (1 - d) x after each optimizer step n = 0, 1, ... with weights x, where d is the
    smaller one of ``decay`` and (1 + n) / (10 + n): the first weights are soon forgotten.

    Training goes on from x, and gains that are logged in training are those of x. Buffers of real
    numbers are averaged too, others are the present ones.
    ``last.ckpt`` has both, so that a resumed run equals an uninterrupted one.

    Departs from Lightning's ``EMAWeightAveraging`` in the decay of the first steps; in that it does
    not copy the task with its data; and in that a validation after the end of training is of the
    weights that the module has, which are the best ones there.
    """

    def __init__(self, config: AverageConfig, *, task: Task):
        super().__init__(use_buffers=True, avg_fn=_moving_average(config.decay))

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        assert isinstance(pl_module, SequenceModule)
        self._device = trainer.strategy.root_device
        with pl_module.without_task():
            super().setup(trainer, pl_module, stage)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_validation_epoch_end(trainer, pl_module)


def _moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """The next average, of the last one, the present value and the number of values so far."""

    def averaged(average: Tensor, value: Tensor, seen: Tensor | int) -> Tensor:
        if not (value.is_floating_point() or value.is_complex()):
            return value
        steps = int(seen)
        share = 1 - min(decay, (1 + steps) / (10 + steps))
        return average.lerp(value, share)  # exactly the same where both are the same

    return averaged
