"""Loggers: a file of one JSON object per line, which a resumed run continues; TensorBoard."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from ssmbench import jsonio


class JsonLinesLogger(Logger):
    """Appends ``{"step": ..., metric: value, ...}`` to a file.

    Lightning's CSVLogger deletes earlier rows when a run is resumed; this one only appends.
    """

    def __init__(self, path: Path):
        super().__init__()
        self._path = path

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        row = {"step": step, **{key: float(value) for key, value in metrics.items()}}
        jsonio.append(self._path, row)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the config is written to config.yaml."""


class EventsLogger(TensorBoardLogger):
    """TensorBoard's events in a run's folder.

    ``log_dir`` is overridden because Lightning would expand ``~`` and variables in the path again.
    """

    def __init__(self, folder: Path):
        super().__init__(folder, name="", version="tensorboard")

    @property
    def log_dir(self) -> str:
        return os.path.join(self.root_dir, str(self.version))
