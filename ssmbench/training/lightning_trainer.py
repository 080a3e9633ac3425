"""Check the arguments of Lightning's Trainer for a run, and build it."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from ssmbench import registry
from ssmbench.config import RunConfig, accumulation, ranks
from ssmbench.errors import UsageError, last_line, one_line, require
from ssmbench.nn.sharing import NO_SHARED_BATCH, NO_SHARING
from ssmbench.training.checkpoints import FOLDER, METRICS, PREVIOUS
from ssmbench.training.durable import DurableCheckpoints
from ssmbench.training.empty_hooks import leave_out_empty_hooks
from ssmbench.training.environment import check_node_rank, cluster_environment
from ssmbench.training.last_checkpoint import LastCheckpoint
from ssmbench.training.loggers import EventsLogger, JsonLinesLogger
from ssmbench.training.time_limits import TimeLimit
from ssmbench.training.trainer_options import check_trainer_options
from ssmbench.training.unprofiled import Unprofiled

#: Processes allowed on a machine with fewer cores than that.
_MAX_RANKS = 16
#: Errors of Lightning whose message alone says what is wrong.
_MISUSE = (MisconfigurationException, ModuleNotFoundError, TypeError, ValueError)
_IGNORED_WARNINGS = (
    ".*does not have many workers.*",
    ".*exists and is not empty.*",
    ".*`srun` command is available.*",  # on a login node, and where Slurm is merely installed
    ".*smaller than the logging interval.*",
    ".*could not find the monitored key.*",  # the run ends before its first validation
    ".*`srun` command is available.*",  # the login node of a cluster
    ".*LeafSpec.*",  # Lightning 2.6 on torch 2.13
    ".*`srun` command is available.*",  # a run on a machine with Slurm need not be a job
)


def check_trainer(run: RunConfig) -> None:
    """Check the Trainer's arguments, and that its processes suit the machine and the network.

    Raises:
        UsageError: the message names the argument.
    """
    check_trainer_options(run.trainer, ends=run.budget is not None)
    _check_sharing(run)
    accumulation(run)
    check_node_rank(run.trainer.get("num_nodes", 1))
    devices = str(run.trainer.get("devices", "auto"))
    require(
        not devices.isdecimal() or int(devices) <= max(os.cpu_count() or 1, _MAX_RANKS),
        f"trainer.devices: {devices} processes on a machine of {os.cpu_count()} cores",
    )


def _check_sharing(run: RunConfig) -> None:
    shared, devices = run.sequence_parallel, str(run.trainer.get("devices", "auto"))
    require(shared >= 1, f"sequence_parallel: must be at least 1, got {shared}")
    processes = ranks(run.trainer)
    require(
        shared == 1 or (processes is not None and processes % shared == 0),
        f"sequence_parallel: {shared} ranks per sequence do not divide trainer.devices={devices}; "
        f"set trainer.devices to a multiple of {shared}",
    )
    require(shared == 1 or not run.model.bidirectional, f"sequence_parallel: {NO_SHARING}")
    require(shared == 1 or not _norms_read_batch(run), f"sequence_parallel: {NO_SHARED_BATCH}")


def _norms_read_batch(run: RunConfig) -> bool:
    chosen = [norm for norm in (run.model.norm, run.model.final_norm) if norm]
    factories = [registry.norms.get(norm["name"]).factory for norm in chosen]
    return any(getattr(factory, "reads_batch", False) for factory in factories)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def build_trainer(run: RunConfig, folder: Path, callbacks: Sequence[Callback]) -> pl.Trainer:
    """The Trainer of a run, which writes metrics and checkpoints to ``folder``.

    Raises:
        UsageError: Lightning does not accept the arguments on this machine.
    """
    loggers = [
        JsonLinesLogger(folder / METRICS),
        EventsLogger(folder),
    ]
    options = dict(run.trainer)
    options.setdefault("max_epochs", -1 if options.pop("max_steps", -1) >= 0 else None)
    if run.budget is not None:
        options["max_epochs"] = -1
    options["accumulate_grad_batches"] = accumulation(run)
    try:
        environment = cluster_environment(ranks(run.trainer))
        files = DurableCheckpoints(spare=folder / FOLDER / PREVIOUS)
        plugins = [environment, files, *_listed(options.pop("plugins", None))]
        limit = TimeLimit(options.pop("max_time", None))
        options.pop("timeout", None)  # of the processes, not of the training
        trainer = pl.Trainer(
            default_root_dir=folder,
            logger=loggers,
            callbacks=[*callbacks, limit, LastCheckpoint(folder, limit)],
            plugins=[plugin for plugin in plugins if plugin is not None],
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            profiler=options.pop("profiler", None) or Unprofiled(),
            **options,
        )
        _leave_signals_alone(trainer)
        leave_out_empty_hooks(trainer.callbacks)  # pyright: ignore[reportAttributeAccessIssue]
        return trainer
    except _MISUSE as error:
        raise UsageError(f"trainer: {last_line(error)}") from None
    except Exception as error:  # the packages of accelerators raise many kinds
        raise UsageError(f"trainer: {one_line(error)}") from None


def _leave_signals_alone(trainer: pl.Trainer) -> None:
    """Without Lightning's own handler of SIGTERM, which waits for the other ranks inside it."""
    vars(trainer._signal_connector).update(register_signal_handlers=lambda: None)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Within: Lightning's tips and notices are not shown, its errors are."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in _IGNORED_WARNINGS:
            warnings.filterwarnings("ignore", message)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
