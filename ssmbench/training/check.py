"""Check a run by building its parts, without training."""

from __future__ import annotations

import warnings
from pathlib import Path

from ssmbench.build.check import check_parts
from ssmbench.build.task import build_task
from ssmbench.config import RunConfig
from ssmbench.training.chosen_callbacks import build_callbacks
from ssmbench.training.lightning_trainer import build_trainer, check_trainer, quiet_lightning


def check(run: RunConfig) -> None:
    """Check a run's arguments of the Trainer, and build all its parts.

    Raises:
        UsageError: the run could not be executed.
    """
    check_trainer(run)
    with quiet_lightning(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the run will issue them again
        build_trainer(run, Path(), [])
    check_parts(run)
    with quiet_lightning(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        build_trainer(run, Path(), build_callbacks(run, build_task(run)))
