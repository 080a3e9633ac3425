"""Everything that a run needs, built without training."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssmbench.build.check import check_parts
from ssmbench.config import typed
from ssmbench.training.lightning_trainer import build_trainer, check_trainer, quiet_lightning


def check(config: Mapping[str, Any]) -> None:
    """Check a resolved config's trainer options, and build all parts of its run.

    Raises:
        UsageError: what would stop the run.
    """
    run = typed(config)
    check_trainer(run)
    with quiet_lightning(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they come again when the run begins
        build_trainer(run, Path(), [])
    check_parts(run)
