"""Check a run by building its parts, without training."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.callbacks import Callback

from ssmbench.build.check import check_parts
from ssmbench.build.task import build_task
from ssmbench.config import RunConfig
from ssmbench.training.chosen_callbacks import build_callbacks
from ssmbench.training.lightning_trainer import build_trainer, check_trainer, quiet_lightning


def check(run: RunConfig, accepted: set[str] | None = None) -> None:
    """Check a run's arguments of the Trainer, and build all its parts.

    ``accepted`` takes note of arguments of which a Trainer was built, for further runs.

    Raises:
        UsageError: the run could not be executed.
    """
    check_trainer(run)
    arguments = repr((run.trainer, run.budget))
    if accepted is None or arguments not in accepted:
        _check_callbacks(run, [])
    if accepted is not None:
        accepted.add(arguments)
    check_parts(run)
    if run.callbacks:
        _check_callbacks(run, build_callbacks(run, build_task(run)))


def _check_callbacks(run: RunConfig, callbacks: Sequence[Callback]) -> None:
    with quiet_lightning(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the run will issue them again
        build_trainer(run, Path(), callbacks)
