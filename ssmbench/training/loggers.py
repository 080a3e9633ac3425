"""Loggers: a file of one JSON object per line, which a resumed run continues; TensorBoard."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from ssmbench import jsonio
from ssmbench.training.board.events import TENSORBOARD
from ssmbench.training.board.messages import Summary

#: Lightning adds it to all that is logged. As a chart it says nothing.
_EPOCH = "epoch"


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
    """TensorBoard's events in a run's folder; tags are the keys of metrics.jsonl.

    ``log_dir`` is overridden because Lightning would expand ``~`` and variables in the path again,
    and ``save`` because it would write an empty ``hparams.yaml``: settings and final figures are
    written at the end (:mod:`ssmbench.training.board.outcome`).
    """

    def __init__(self, folder: Path):
        super().__init__(folder, name="", version=TENSORBOARD)

    @property
    def log_dir(self) -> str:
        return os.path.join(self.root_dir, str(self.version))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics({k: v for k, v in metrics.items() if k != _EPOCH}, step)

    @rank_zero_only
    def log_summaries(self, summaries: Iterable[Summary], step: int) -> None:
        """Texts, figures and the layout, as :mod:`ssmbench.training.board.events` makes them."""
        for summary in summaries:
            self.experiment._get_file_writer().add_summary(summary, step)

    @rank_zero_only
    def save(self) -> None:
        self.experiment.flush()


def board_of(loggers: Iterable[Logger]) -> EventsLogger | None:
    """TensorBoard's logger, if a trainer has it: none while it evaluates for other names."""
    return next((logger for logger in loggers if isinstance(logger, EventsLogger)), None)
