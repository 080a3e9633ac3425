"""Everything that a run needs, built without training."""

from __future__ import annotations

import warnings
from pathlib import Path

from ssmbench.build.check import check_parts
from ssmbench.config import RunConfig
from ssmbench.training.lightning_trainer import build_trainer, check_trainer, quiet_lightning


def check(run: RunConfig) -> None:
    """Check a run's trainer options, and build all its parts.

    Raises:
        UsageError: what would stop the run.
    """
    check_trainer(run)
    with quiet_lightning(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they come again when the run begins
        build_trainer(run, Path(), [])
    check_parts(run)
