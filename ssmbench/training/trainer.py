"""From a resolved config to a trained network and its scores."""

from __future__ import annotations

import logging
import math
import os
import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only

from ssmbench import registry
from ssmbench.config import RunConfig, build, typed
from ssmbench.errors import DivergedError, OutOfTimeError, UsageError, one_line, require, suggest
from ssmbench.nn.layer import InitialState, SSMLayer
from ssmbench.nn.model import NO_SHARING, Block, Norm, Pooling, Residual, SequenceModel
from ssmbench.tasks.base import Task, TaskSizes
from ssmbench.training.callbacks import EpochProgress, GainMonitor, Speed
from ssmbench.training.checkpoints import (
    METRICS,
    BestCheckpoint,
    LastCheckpoint,
    LogSizes,
    TimeLimit,
    find_resume_point,
    load_checkpoint,
    prepare_folder,
)
from ssmbench.training.environment import cluster_environment
from ssmbench.training.loggers import EventsLogger, JsonLinesLogger
from ssmbench.training.module import SequenceModule, build_optimizer
from ssmbench.training.step_sizes import step_size_warning
from ssmbench.training.trainer_options import check_trainer_options

_MAX_RANKS = 16  # with fewer cores than that


@dataclass
class Trained:
    """A network after training; ``diverged_at`` is the step of the first loss not finite.

    ``out_of_time``: ``trainer.max_time`` ended the training before it was complete.
    ``warnings`` are those given before training began.
    """

    module: SequenceModule
    task: Task
    scores: dict[str, float]
    diverged_at: int | None
    steps: int
    steps_per_second: float | None
    warnings: tuple[str, ...] = ()
    out_of_time: bool = False


def build_task(config: RunConfig) -> Task:
    """The data module of a run; nothing is read yet."""
    task = build(registry.tasks, config.task, batch_size=config.batch_size, seed=config.seed)
    task.ranks_per_sequence = config.sequence_parallel
    task.expected_digest = config.data_digest
    return task


def build_model(config: RunConfig, sizes: TaskSizes) -> SequenceModel:
    """The network of a run, its parameters drawn from torch's global generator.

    Raises:
        UsageError: options that do not fit together, a discretizer for a discrete system among
            them.
    """
    model = config.model
    pooling = None if sizes.per_step else _choice(Pooling, model.pooling, "model.pooling")
    norm = _choice(Norm, model.norm, "model.norm")
    blocks = [_build_block(config, norm) for _ in range(model.n_layers)]
    return SequenceModel(
        blocks,
        inputs=sizes.inputs,
        d_model=model.d_model,
        outputs=sizes.outputs,
        pooling=pooling,
        gamma=model.gamma,
    )


def _build_block(config: RunConfig, norm: Norm) -> Block:
    model = config.model
    return Block(
        _build_layer(config),
        build(registry.nonlinearities, model.nonlinearity, d_model=model.d_model),
        d_model=model.d_model,
        norm=norm,
        mix=model.mix,
        residual=_choice(Residual, model.residual, "model.residual"),
        dropout=model.dropout,
        bounded=model.gamma is not None,
        reverse_layer=_build_layer(config) if model.bidirectional else None,
    )


def _build_layer(config: RunConfig) -> SSMLayer:
    model = config.model
    discretizer = model.discretizer and build(registry.discretizers, model.discretizer)
    return SSMLayer(
        build(registry.parametrizations, model.parametrization, d_model=model.d_model),
        discretizer,
        build(registry.scans, model.scan),
        model.normaliser and build(registry.normalisers, model.normaliser),
        _choice(InitialState, model.initial_state, "model.initial_state"),
    )


def _choice(enum: type, name: str, where: str) -> Any:
    names = [member.name for member in enum]
    if name not in names:
        raise UsageError(f"{where}: {name!r} is not a choice; {suggest(name, names)}")
    return enum[name]


def _check_settings(run: RunConfig) -> None:
    check_trainer_options(run.trainer)
    _check_sharing(run)
    ranks, most = run.trainer.get("devices"), max(os.cpu_count() or 1, _MAX_RANKS)
    require(
        not str(ranks).isdecimal() or int(ranks) <= most,
        f"trainer.devices: {ranks} processes on a machine of {os.cpu_count()} cores",
    )


def _check_sharing(run: RunConfig) -> None:
    shared, devices = run.sequence_parallel, str(run.trainer.get("devices", "auto"))
    require(shared >= 1, f"sequence_parallel: must be at least 1, got {shared}")
    ranks = _ranks(run)
    require(
        shared == 1 or (ranks and ranks % shared == 0),
        f"sequence_parallel: {shared} ranks a sequence do not divide trainer.devices={devices}; "
        f"set trainer.devices to a multiple of {shared}",
    )
    require(shared == 1 or not run.model.bidirectional, f"sequence_parallel: {NO_SHARING}")


def _ranks(run: RunConfig) -> int | None:
    """Processes of a run; None where the machine decides."""
    devices = str(run.trainer.get("devices", "auto"))
    return int(devices) * int(run.trainer.get("num_nodes", 1)) if devices.isdecimal() else None


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def check(config: Mapping[str, Any]) -> None:
    """Build everything that a run needs, without training, to find bad settings early.

    Raises:
        UsageError: what would stop the run.
    """
    run = typed(config)
    _check_settings(run)
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")  # they come again when the run begins
            _build_trainer(run, Path(), [])
            model = build_model(run, build_task(run).sizes)
            build_optimizer(model, run.optimizer)
    except UsageError:
        raise
    except Exception as error:  # a plugin's: its author wants the place, its user a sentence
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename}:{place.lineno}"
        raise UsageError(f"the model cannot be built: {one_line(error)} ({where})") from error


def check_data(config: Mapping[str, Any]) -> None:
    """Load a run's data.

    Raises:
        UsageError: they cannot be used, or do not fill a batch.
    """
    build_task(typed(config)).train_dataloader()


def train(config: Mapping[str, Any], folder: Path, label: str | None = None) -> Trained:
    """Train a resolved config in ``folder``, going on from its last checkpoint where there is one.

    The weights with the best validation score are tested. A run that diverges comes back with
    ``diverged_at`` and no scores, one that is out of time with no scores.
    """
    run = typed(config)
    _check_settings(run)
    pl.seed_everything(run.seed, verbose=False)
    task = build_task(run)
    steps = run.trainer.get("max_steps", -1)
    module = SequenceModule(build_model(run, task.sizes), task, run.optimizer, steps)
    warned = _warn_of_step_sizes(run, module.model)
    point = find_resume_point(folder)
    if is_main_process():
        prepare_folder(folder, point)
    speed, best = Speed(), BestCheckpoint(folder, task)
    callbacks = [GainMonitor(run.analysis.every_n_epochs), speed, LogSizes(folder)]
    callbacks += [EpochProgress(label)] if label else []
    trainer = _build_trainer(run, folder, [*callbacks, best])
    diverged_at, scores, out_of_time = None, {}, False
    try:
        trainer.fit(module, datamodule=task, ckpt_path=point.file, weights_only=True)
        scores = _evaluate_best(trainer, module, task, best)
    except DivergedError as error:
        diverged_at = error.step
    except OutOfTimeError:
        out_of_time = True
    finally:
        _leave_process_group()
    rate, steps = speed.steps_per_second, trainer.global_step
    return Trained(module, task, scores, diverged_at, steps, rate, warned, out_of_time)


def _warn_of_step_sizes(run: RunConfig, model: SequenceModel) -> tuple[str, ...]:
    discretizer = run.model.discretizer
    warning = discretizer and step_size_warning(model, discretizer["name"])
    if warning and is_main_process():
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    return (warning,) if warning else ()


def _leave_process_group() -> None:
    """What follows is one process's business, and no metric may wait for the others.

    Nor may gloo's threads outlive Python: one that frees a tensor while it shuts down aborts the
    process. Lightning destroys the groups of NCCL only.
    """
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def is_main_process() -> bool:
    """Whether this is rank 0, before or after a trainer exists."""
    return rank_zero_only.rank == 0


def _evaluate_best(
    trainer: pl.Trainer, module: SequenceModule, task: Task, best: ModelCheckpoint
) -> dict[str, float]:
    if best.best_model_path:
        module.load_state_dict(load_checkpoint(Path(best.best_model_path))["state_dict"])
    scores = {"val": _validate_best(trainer, module, task)}
    (found,) = _scored(trainer.test(module, datamodule=task, verbose=False), "test")
    scores["test"] = found[f"test/{task.score}"]
    if not all(math.isfinite(score) for score in scores.values()):
        raise DivergedError(trainer.global_step)
    return scores


def _validate_best(trainer: pl.Trainer, module: SequenceModule, task: Task) -> float:
    """The score, logged as ``best/val/...``: a point of ``val/...`` would be the last epoch's."""
    loggers, trainer.loggers = trainer.loggers, []
    (found,) = _scored(trainer.validate(module, datamodule=task, verbose=False), "val")
    trainer.loggers = loggers
    for logger in loggers:
        named = {f"best/{name}": value for name, value in found.items()}
        logger.log_metrics(named, step=trainer.global_step)
    return found[f"val/{task.score}"]


def _scored(results: list[Mapping[str, float]], split: str) -> list[Mapping[str, float]]:
    require(len(results) == 1, f"trainer.limit_{split}_batches: leaves nothing to score")
    return results


def _build_trainer(run: RunConfig, folder: Path, callbacks: Sequence[Callback]) -> pl.Trainer:
    _quiet()
    loggers = [
        JsonLinesLogger(folder / METRICS),
        EventsLogger(folder),
    ]
    options = dict(run.trainer)
    options.setdefault("max_epochs", -1 if options.pop("max_steps", -1) >= 0 else None)
    try:
        environment = cluster_environment(_ranks(run))
        plugins = [environment, *_listed(options.pop("plugins", None))]
        last = LastCheckpoint(folder, TimeLimit(options.pop("max_time", None)))
        return pl.Trainer(
            default_root_dir=folder,
            logger=loggers,
            callbacks=[*callbacks, last],
            plugins=[plugin for plugin in plugins if plugin is not None],
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **options,
        )
    except Exception as error:  # Lightning and the accelerators' packages raise many kinds
        raise UsageError(f"trainer: {one_line(error)}") from None


def _quiet() -> None:
    """Lightning's tips and notices are not the user's business; its errors are."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in (
        ".*does not have many workers.*",
        ".*exists and is not empty.*",
        ".*smaller than the logging interval.*",
        ".*could not find the monitored key.*",  # the run ends before it was ever validated
        ".*LeafSpec.*",  # Lightning 2.6 on torch 2.13
    ):
        warnings.filterwarnings("ignore", message)
