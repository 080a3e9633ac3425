"""From a resolved config to a trained network and its scores."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import lightning.pytorch as pl
import torch

from ssmbench.build.check import (
    check_compile,
    check_margins,
    check_measures,
    check_penalty,
    check_splits_fit,
)
from ssmbench.build.network import build_network
from ssmbench.build.task import build_task
from ssmbench.build.truncation import check_truncation
from ssmbench.config import RunConfig, accumulation, seconds
from ssmbench.errors import DivergedError, OutOfTimeError
from ssmbench.nn.model import SequenceModel
from ssmbench.results import Scores, Truncation
from ssmbench.tasks.base import Task
from ssmbench.training import interruption
from ssmbench.training.board.drawing import Drawings
from ssmbench.training.board.monitor import Board
from ssmbench.training.board.text import config_in_markdown
from ssmbench.training.checkpoints import (
    BEST,
    FOLDER,
    BestCheckpoint,
    LogSizes,
    ResumePoint,
    find_resume_point,
    prepare_folder,
)
from ssmbench.training.chosen_callbacks import build_callbacks, notes_of
from ssmbench.training.data_module import DataModule
from ssmbench.training.effective_batch import (
    EffectiveBatch,
    check_effective_batch,
    effective_batch,
)
from ssmbench.training.environment import is_main_process, require_peers
from ssmbench.training.evaluation import evaluate
from ssmbench.training.lightning_trainer import build_trainer, check_trainer, quiet_lightning
from ssmbench.training.margin import margins_of
from ssmbench.training.memory_estimate import MemoryEstimate
from ssmbench.training.module import SequenceModule
from ssmbench.training.monitor import GainMonitor
from ssmbench.training.out_of_memory import BUILDING, LOADING, memory_named
from ssmbench.training.ownership import Ownership
from ssmbench.training.peers import ranks_end_together
from ssmbench.training.plateau import Plateau
from ssmbench.training.progress import EpochProgress, Speed
from ssmbench.training.relaxing import Relaxing
from ssmbench.training.start import load_start
from ssmbench.training.step_sizes import step_size_warning
from ssmbench.training.time_limits import Budget
from ssmbench.training.trainer_options import waits_for
from ssmbench.training.truncation import as_truncated, truncating, truncations_in


@dataclass
class Trained:
    """A network after training; ``diverged_at`` is the step of the first loss that is not finite.

    ``out_of_time``: ``trainer.max_time`` ended the training before it was complete. ``device`` is
    that of the training, after which Lightning moved the parameters to the CPU. ``warnings`` are
    those given before training, ``notes`` what callbacks say at its end. ``effective_batch``:
    sequences of one optimizer step, over all ranks. ``drawings``: figures for TensorBoard.
    ``truncations``: of the SSM layers, first to last.
    """

    module: SequenceModule
    task: Task
    scores: Scores | None
    device: torch.device
    diverged_at: int | None
    steps: int
    steps_per_second: float | None
    effective_batch: int
    warnings: tuple[str, ...] = ()
    out_of_time: bool = False
    notes: tuple[str, ...] = ()
    drawings: Drawings = field(default_factory=lambda: Drawings(1.0))
    truncations: tuple[Truncation, ...] = ()


def _owned() -> None:
    """No other process can have taken over what this one alone knows of."""


@quiet_lightning()
def train(
    run: RunConfig, folder: Path, label: str | None = None, check: Callable[[], None] = _owned
) -> Trained:
    """Train a run in ``folder``, from its last checkpoint on if there is one.

    The weights with the best validation score are tested. A run that diverges has ``diverged_at``
    and no scores; one that is out of time has no scores either. ``label`` is that of the progress
    display, None for no display. ``check`` is called after each batch, and before anything is
    written; it raises where this process may not write any more.

    Raises:
        UsageError: the run could not be executed.
        OutOfMemoryError: memory ran out; the message names the settings to lower.
        InterruptedRunError: a signal stopped it, on this rank or another one.
        LostRankError: another process of it failed or is lost.
    """
    check_trainer(run)
    require_peers(run.trainer.get("num_nodes", 1))
    point = find_resume_point(folder)
    module = _built(run, truncations_in(point.state, str(point.file)))
    task = module.task
    warned = _warn_of_step_sizes(run, module.model)
    if is_main_process():
        check()
        prepare_folder(folder, point)
    chosen = build_callbacks(run, task)
    module.logs_every_loss = bool(chosen)
    speed, drawings = Speed(accumulation(run)), Drawings(run.analysis.figures)
    best = BestCheckpoint(folder, task, module.margins.key(task))
    truncations = truncating(run, task, folder / FOLDER / BEST, point.state)
    board = Board(config_in_markdown(run), speed, drawings)
    own = [Ownership(check), *_callbacks(run, folder, label, speed, module), board]
    trainer = build_trainer(run, folder, [*chosen, *own, best, *truncations])
    ended = _fitted(run, folder, trainer, module, best, point)
    interruption.training_ends()
    return Trained(
        module,
        task,
        ended.scores,
        trainer.strategy.root_device,
        ended.diverged_at,
        steps=trainer.global_step,
        steps_per_second=speed.steps_per_second,
        effective_batch=effective_batch(trainer, task),
        warnings=warned,
        out_of_time=ended.out_of_time,
        notes=notes_of([*chosen, *truncations]),
        truncations=tuple(done for one in truncations for done in one.done),
        drawings=drawings,
    )


@dataclass(frozen=True)
class _Ended:
    """How a training ended: with scores, or why without."""

    scores: Scores | None = None
    diverged_at: int | None = None
    out_of_time: bool = False


def _fitted(
    run: RunConfig,
    folder: Path,
    trainer: pl.Trainer,
    module: SequenceModule,
    best: BestCheckpoint,
    point: ResumePoint,
) -> _Ended:
    """Train and score the module's network, from the resume point on."""
    others = ranks_end_together(trainer, folder, waits_for(run.trainer))
    data = DataModule(module.task)
    try:
        with memory_named(run, lambda: module.doing), others:
            trainer.fit(module, datamodule=data, ckpt_path=point.file, weights_only=True)
            return _Ended(evaluate(trainer, module, module.task, best))
    except DivergedError as error:
        return _Ended(diverged_at=error.step)
    except OutOfTimeError:
        return _Ended(out_of_time=True)


def _built(run: RunConfig, truncations: Sequence[Truncation]) -> SequenceModule:
    """The task and the network of a run, which fit together; with the layers that truncations
    before it was resumed have left."""
    pl.seed_everything(run.seed, verbose=False)
    task = build_task(run)
    budget = None if run.budget is None else Budget(seconds(run.budget))
    steps = -1 if budget else run.trainer.get("max_steps", -1)
    with memory_named(run, BUILDING):
        network = build_network(as_truncated(run, truncations), task.sizes)
        if run.start is not None and not truncations:
            load_start(network, run.start, run.start_digest)
    check_compile(run)
    check_margins(run, task, network)
    check_measures(run, network)
    check_penalty(run, network)
    check_truncation(run, network)
    with memory_named(run, LOADING):
        check_splits_fit(network, task)
        margins = margins_of(run, task)
    own = (budget, margins, run.hankel_penalty, run.compile)
    module = SequenceModule(network, task, run.optimizer, steps, *own)
    check_effective_batch(run.effective_batch, task)
    return module


def _callbacks(
    run: RunConfig, folder: Path, label: str | None, speed: Speed, module: SequenceModule
) -> list[pl.Callback]:
    """Callbacks of every run, in the order in which they are called."""
    callbacks: list[pl.Callback] = []
    if module.model.relaxation is not None:
        callbacks += [Relaxing(module.task, run.analysis.network_bound)]
    callbacks += [GainMonitor(run.analysis.every_n_epochs), speed, LogSizes(folder)]
    callbacks += [module.budget] if module.budget else []
    if run.optimizer.get("schedule") == "plateau":
        callbacks += [Plateau(run.optimizer["plateau_patience"])]
    callbacks += [EffectiveBatch(label), MemoryEstimate(run, label)]
    return callbacks + ([EpochProgress(label, speed)] if label else [])


def _warn_of_step_sizes(run: RunConfig, model: SequenceModel) -> tuple[str, ...]:
    discretizer = run.model.discretizer
    warning = discretizer and step_size_warning(model, discretizer["name"])
    if warning and is_main_process():
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    return (warning,) if warning else ()
