"""The LightningModule that trains any model on any task."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor
from torchmetrics import MeanMetric, MetricCollection

from ssmbench import registry
from ssmbench.build.optimizer import build_optimizer
from ssmbench.build.schedule import Schedule
from ssmbench.config import options_of
from ssmbench.config.compilation import compile_mode
from ssmbench.errors import DivergedError, require
from ssmbench.nn.bounds import is_finite
from ssmbench.nn.model import SequenceModel
from ssmbench.optimizers.base import ClosureOptimizer
from ssmbench.scans.sequence_parallel import Segments
from ssmbench.tasks.base import Task
from ssmbench.tasks.batch import Batch
from ssmbench.training.batches import check_batches, used_batches
from ssmbench.training.compiled import compilation_refused, forget_compiled, predict_compiled
from ssmbench.training.devices import FiniteCheck, seed_generators, waits_for_loss
from ssmbench.training.hankel import hankel_penalty
from ssmbench.training.margin import Margins
from ssmbench.training.time_limits import Budget
from ssmbench.transforms import defer_checks

#: Attributes that are set several times in a step, the first one by Lightning in each hook.
_OF_A_STEP = frozenset(
    ("_current_fx_name", "doing", "joint_loss", "_loss_is_finite", "_evaluated", "_finite")
)


class SequenceModule(pl.LightningModule):
    """Trains a model on a task; ``optimizer`` is a resolved component of the run config.

    ``max_steps`` is the number of optimizer steps after which training ends, -1 for no limit. It is
    enforced here and not by Lightning's Trainer, which resumes a run of limited steps in the wrong
    epoch. ``budget`` is the training time of the run, None if it ends after epochs or steps.
    ``margins``: of a training for certified predictions. ``hankel_penalty``: the weight of
    :func:`~ssmbench.training.hankel.hankel_penalty` in the training loss. ``compiled``: whether
    training steps run the network through ``torch.compile``, or in which of its modes.

    Raises:
        DivergedError: a loss or prediction is not finite on any rank; all ranks raise together.
    """

    def __init__(
        self,
        model: SequenceModel,
        task: Task,
        optimizer: Mapping[str, Any],
        max_steps: int = -1,
        budget: Budget | None = None,
        margins: Margins | None = None,
        hankel_penalty: float = 0.0,
        compiled: bool | str = False,
    ):
        super().__init__()
        self.max_steps = max_steps
        self.budget = budget
        self._schedule: Schedule | None = None
        self.model = model
        self.task = task
        self.optimizer = optimizer
        self.margins = margins or Margins()
        self.hankel_penalty = hankel_penalty
        self.compiled = compile_mode(compiled)
        self.val_metrics = task.metrics().clone(prefix="val/")
        self.test_metrics = task.metrics().clone(prefix="test/")
        self.certified_metrics = task.metrics() if self.margins.selects else None
        self.val_loss = MeanMetric(nan_strategy="disable")
        self.test_loss = MeanMetric(nan_strategy="disable")
        self._finite: bool | Shaped[Tensor, ""] = True
        #: What is computed at present, for errors.
        self.doing = "preparing the training"
        #: Whether every loss is logged, also those that only a callback may read.
        self.logs_every_loss = True
        #: Of the last training step, over all ranks.
        self.joint_loss = torch.tensor(math.nan)
        self._loss_is_finite = FiniteCheck(torch.tensor(0.0))
        self._evaluated: tuple[int, int] | None = None
        self._groups: Segments | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        """What changes within a step is neither a module nor a parameter, and is not examined."""
        if name in _OF_A_STEP:
            vars(self)[name] = value
        else:
            super().__setattr__(name, value)

    @contextmanager
    def without_task(self) -> Iterator[None]:
        """Within: the module has no task, so that a copy of it has no copy of the data."""
        task, vars(self)["task"] = self.task, None
        try:
            yield
        finally:
            self.task = task

    @contextmanager
    def _segments(self) -> Iterator[None]:
        """Within: if several ranks share a sequence, each has the features of its segment only."""
        shared = self.task.ranks_per_sequence
        if shared == 1:
            yield
            return
        if self._groups is None:
            self._groups = Segments.among(shared)
        with self.model.sharing(self._groups):
            yield

    def forward(self, u: Shaped[Tensor, "B ..."]) -> Tensor:
        return self.model(u)

    def seed_batch(self, batch_idx: int, rank: int | None = None) -> None:
        """Seed torch's generator from the run's seed, the epoch, the batch and the rank, by default
        this one.

        A resumed run then has the dropout and the augmentation of one that was not interrupted, and
        an optimizer that evaluates a batch several times per step sees the same function each time.
        """
        rank = self.global_rank if rank is None else rank
        place = (self.task.seed, self.current_epoch, batch_idx, rank)
        seed_generators(int(np.random.SeedSequence(place).generate_state(1)[0]), self.device)

    def _training_batch(self, batch: Batch, batch_idx: int) -> Batch:
        """The batch that a step is given; ranks that share sequences draw the same changes."""
        shared = self.task.ranks_per_sequence
        rank = self.global_rank // shared
        self.seed_batch(batch_idx, rank)
        place = self.task.seed, self.current_epoch, batch_idx, rank
        batch = self.task.training_batch(batch, place)
        if shared > 1:
            self.seed_batch(batch_idx)  # dropout is of each rank's own segment
        return batch

    def setup(self, stage: str) -> None:
        """Check the numbers of batches before training; see :func:`check_batches`."""
        if stage == "fit":
            check_batches(self.trainer, self.task)

    def on_fit_start(self) -> None:
        """Limit the epochs to the one in which the last step lies."""
        if self.compiled:
            forget_compiled()
        if self.max_steps >= 0:
            epochs = math.ceil(self.max_steps / self.steps_per_epoch())
            given = self.trainer.max_epochs
            limited = epochs if given is None or given < 0 else min(epochs, given)
            self.trainer.fit_loop.max_epochs = limited

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        """-1, which ends the epoch, after the last step."""
        return -1 if 0 <= self.max_steps <= self.global_step else None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.doing = "the forward pass of a training step"
        with defer_checks():
            loss = self._penalised(self._loss(self._training_batch(batch, batch_idx)))
        # The mean over ranks: the loss of their joint batch, not finite if that of a rank is not.
        joint = self.trainer.strategy.reduce(loss.detach().clone(), reduce_op="mean")
        self._loss_is_finite = FiniteCheck(joint)
        if waits_for_loss(self.device):
            self._stop_unless_loss_is_finite()
        place = (self.current_epoch, batch_idx)
        if place != self._evaluated:  # the first loss of a step, not those of trial points
            self._evaluated, self.joint_loss = place, joint
        return loss

    def _penalised(self, loss: Tensor) -> Tensor:
        """The loss with what is asked of the layers; that is NaN where a parameter is not finite,
        and has no Hankel singular values."""
        if self.hankel_penalty == 0:
            return loss
        if not is_finite(self.model):
            return loss * math.nan
        return loss + (self.hankel_penalty * hankel_penalty(self.model)).to(loss)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """The gradient of a loss.

        Raises:
            DivergedError: the loss is not finite; the parameters are those that it is of.
        """
        self.doing = "the backward pass of a training step"
        try:
            with compilation_refused() if self.compiled else nullcontext():
                super().backward(loss, *args, **kwargs)
        except torch.linalg.LinAlgError:  # as in _predict
            self._stop_unless_loss_is_finite()
            raise
        self._stop_unless_loss_is_finite()

    def _stop_unless_loss_is_finite(self) -> None:
        if not self._loss_is_finite:
            raise DivergedError(self.global_step)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log the loss of a step: by Lightning where a callback may read it there, else straight
        into the log, and only where it is written, for Lightning's way takes a tenth of a small
        step."""
        if self.logs_every_loss:
            self.log("train/loss", self.joint_loss, on_step=True, on_epoch=False)
        elif self.trainer._logger_connector.should_update_logs and self._has_stepped():
            self.trainer._logger_connector.log_metrics({"train/loss": self.joint_loss})

    def _has_stepped(self) -> bool:
        """Whether an optimizer step was made with the last batch, not only gradients added."""
        return not self.trainer.fit_loop._should_accumulate()

    def _loss(self, batch: Batch) -> Tensor:
        """The loss of a batch, scaled so that its mean over ranks is that of their joint batch."""
        prediction = self._predict(batch)
        asked = self.margins.in_training(self.model, prediction, batch)
        loss = self.task.training_loss(asked, batch)
        if batch.lengths is None:
            return loss
        weight = loss.new_full((), batch.weight(prediction), dtype=torch.float32)
        mean = self.trainer.strategy.reduce(weight.clone(), reduce_op="mean")
        return loss * (weight / mean)

    def _predict(self, batch: Batch) -> Tensor:
        try:
            if self.compiled and self.model.training:
                return predict_compiled(self.model, batch, self.compiled)
            with self._segments():
                return self.model(batch.u, batch.lengths, batch.dt)
        except torch.linalg.LinAlgError:  # a factorization refuses matrices that are not finite
            if is_finite(self.model):
                raise
            raise DivergedError(self.global_step) from None

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.doing = "the optimizer's step"

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.doing = "the validation"
        prediction = self._evaluate(batch, self.val_metrics, self.val_loss)
        if self.certified_metrics is not None:
            self._certify(prediction, batch, self.certified_metrics)
        if _is_last(batch_idx, self.trainer.num_val_batches):
            self._log_scores(self.val_metrics, self.val_loss, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.doing = "the test"
        self._evaluate(batch, self.test_metrics, self.test_loss)
        if _is_last(batch_idx, self.trainer.num_test_batches):
            self._log_scores(self.test_metrics, self.test_loss, "test")

    def _evaluate(self, batch: Batch, metrics: MetricCollection, mean_loss: MeanMetric) -> Tensor:
        prediction = self._predict(batch)
        loss, weight = self.task.batch_loss(prediction, batch), batch.weight(prediction)
        # read at the end of the epoch: a device is not waited for
        self._finite = torch.isfinite(prediction).all() & torch.isfinite(loss) & self._finite
        metrics.update(*self.task.batch_metric(prediction, batch))
        mean_loss.update(loss.expand(weight))
        return prediction

    def _log_scores(self, metrics: MetricCollection, mean_loss: MeanMetric, split: str) -> None:
        """Log what has been gathered over the batches, with the last one: Lightning reads these
        objects at the end of the epoch, and logging them takes longer than a small batch."""
        # Not with sync_dist, which divides the number of sequences by that of ranks, rounded down.
        self.log(f"{split}/loss", mean_loss, batch_size=1)
        self.log_dict(metrics, on_step=False, on_epoch=True, batch_size=1)

    def _certify(self, prediction: Tensor, batch: Batch, metrics: MetricCollection) -> None:
        """Log the score of what is certified under disturbances of the energy that selects."""
        pessimistic = self.margins.in_selection(self.model, prediction, batch)
        metrics.update(*self.task.batch_metric(pessimistic, batch))
        metric = metrics[self.task.score]
        self.log(self.margins.key(self.task), metric, batch_size=batch.size)

    def forget_divergence(self) -> None:
        """Let the next evaluation be judged by itself."""
        self._finite = True

    def on_validation_epoch_end(self) -> None:
        self._stop_unless_finite(bool(self._finite))

    def on_test_epoch_end(self) -> None:
        self._stop_unless_finite(bool(self._finite))

    def _stop_unless_finite(self, finite: bool) -> None:
        # Ranks may see different numbers of evaluation batches: agree once, at the end.
        if not self.trainer.strategy.reduce_boolean_decision(finite, all=True):
            raise DivergedError(self.global_step)

    def configure_optimizers(self) -> dict[str, Any]:
        """The optimizer of the run, whose learning rates follow its schedule from step to step.

        Raises:
            UsageError: the optimizer does not support the number of ranks, or accumulated batches.
        """
        optimizer = build_optimizer(self.model, self.optimizer)
        if isinstance(optimizer, ClosureOptimizer):
            optimizer.check_trainer(self.trainer.world_size, self.trainer.accumulate_grad_batches)
        config = options_of(registry.optimizers, self.optimizer)
        self._schedule = Schedule(config, None if self.budget else self.total_steps())
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self._schedule)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        if self.budget is not None and self._schedule is not None:
            self._schedule.advance_to(self.budget.share(self.trainer))
        super().lr_scheduler_step(scheduler, metric)

    def lower_rates(self) -> None:
        """Lower the learning rates as the schedule ``plateau`` does."""
        if self._schedule is not None:
            self._schedule.reduce()

    def total_steps(self) -> int:
        """Optimizer steps of the whole run, of one without a budget of time.

        ``Trainer.estimated_stepping_batches`` is not used, because it sets up the loaders before
        their state is read from a checkpoint: a run resumed within an epoch would see the first
        batches of that epoch again.

        Raises:
            UsageError: the run has no end.
        """
        trainer, epoch = self.trainer, self.steps_per_epoch()
        ends = [
            self.max_steps,
            trainer.max_steps,
            epoch * (-1 if trainer.max_epochs is None else trainer.max_epochs),
        ]
        require(
            max(ends) >= 0,
            "trainer: the learning rate's schedule needs an end; set max_epochs, max_steps or "
            "budget",
        )
        return min(end for end in ends if end >= 0)

    def is_complete(self) -> bool:
        """Whether no further step follows."""
        return self.trainer.should_stop or 0 <= self.max_steps <= self.global_step

    def steps_per_epoch(self) -> int:
        """Optimizer steps of a whole epoch."""
        trainer = self.trainer
        batches = used_batches(len(self.task.train_dataloader()), trainer.limit_train_batches)
        return math.ceil(batches / trainer.accumulate_grad_batches)


def _is_last(batch_idx: int, batches: Sequence[int | float]) -> bool:
    """Whether a batch is the last one of an evaluation, of one loader."""
    return batch_idx + 1 == batches[0]
