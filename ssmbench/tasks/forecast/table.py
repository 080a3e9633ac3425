"""Forecasting of any table of series: the next values of some columns from past ones of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import mse_loss

from ssmbench.errors import require, suggest
from ssmbench.options import FOLDER, POSITIVE_COUNT, option
from ssmbench.registry import tasks
from ssmbench.spec import Channels, TaskSizes
from ssmbench.tasks.base import Task
from ssmbench.tasks.baselines import Predictor, always
from ssmbench.tasks.batch import Batch
from ssmbench.tasks.data import column_names, read_columns, require_data
from ssmbench.tasks.normalisation import Normalisation
from ssmbench.tasks.published import Download, PublishedData
from ssmbench.tasks.sequences import Splits, WindowedSequences

if TYPE_CHECKING:  # slow: imported where metrics are made
    from torchmetrics import MetricCollection

_ETT = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/ETTh1.csv"


@dataclass
class ForecastConfig:
    """Which table, which columns, and how far ahead; lengths in rows.

    The default is ETTh1 with its usual split of 12, 4 and 4 months of hours.
    """

    data_dir: str | None = option(None, FOLDER)
    #: The table in the data folder, or its absolute path: a CSV file with a header line.
    file: str = "ETT-small/ETTh1.csv"
    #: Columns that are given; by default all whose first value is a number.
    columns: list[str] = field(default_factory=list)
    #: Columns that are forecast; by default all that are given.
    targets: list[str] = field(default_factory=list)
    #: Rows that are given.
    look_back: int = option(336, POSITIVE_COUNT)
    #: Rows that are forecast.
    horizon: int = option(96, POSITIVE_COUNT)
    #: Rows to train on, from the first.
    train_rows: int = option(8640, POSITIVE_COUNT)
    #: Rows for validation, after them.
    val_rows: int = option(2880, POSITIVE_COUNT)
    #: Rows for the test, after those.
    test_rows: int = option(2880, POSITIVE_COUNT)


@tasks.register(
    "forecast",
    config=ForecastConfig,
    citation="H. Zhou et al., Informer, AAAI 2021, arXiv 2012.07436 (the data ETT); as a sequence "
    "with a masked future: A. Gu, K. Goel, C. Re, S4, ICLR 2022, arXiv 2111.00396, section 4.3",
    summary="The next values of a table's columns from past ones; ETTh1 by default; MSE of "
    "standardised values",
)
class Forecast(Task):
    """u (B, look_back + horizon, columns + 1): the columns, standardised by the training rows, zero
    in the future, and a channel that is 1 there; target (B, horizon, targets): the future.

    A window begins at every row. Windows for validation and test look back into the rows before
    their part, as published evaluations do.
    """

    score = "mse"
    higher_is_better = False

    config: ForecastConfig

    published = PublishedData(
        places=(("ETT-small/ETTh1.csv",),),
        size=2_600_000,
        licence="CC BY-ND 4.0",
        page="https://github.com/zhouhaoyi/ETDataset",
        downloads=(Download(_ETT, "", "ETT-small/ETTh1.csv"),),
        note="Any other CSV file: task.file, task.columns and the numbers of rows.",
    )

    @cached_property
    def _columns(self) -> tuple[list[str], list[str]]:
        """The columns that are given, and those that are forecast."""
        (file,) = self.data_files()
        names = column_names(file)
        given = list(self.config.columns) or column_names(file, numeric=True)
        targets = list(self.config.targets) or given
        for name in (*given, *targets):
            require(name in names, f"{file}: no column {name!r}; {suggest(name, names)}")
        unknown = [name for name in targets if name not in given]
        require(not unknown, f"targets: {', '.join(unknown)} must be among columns")
        return given, targets

    @property
    def sizes(self) -> TaskSizes:
        """From the table's header. Raises UsageError where it cannot be read."""
        given, targets = self._columns
        length = self.config.look_back + self.config.horizon
        return TaskSizes(Channels(len(given) + 1), len(targets), length, per_step=True)

    @property
    def source(self) -> str:
        """Where the data come from."""
        return f"the table {Path(self.config.file).name}"

    def data_files(self) -> tuple[Path, ...]:
        """The table. Raises UsageError where it is missing."""
        path = Path(self.config.file)
        if path.is_absolute():
            require(path.is_file(), f"file: {path}: no such file")
            return (path,)
        return (require_data("forecast", self.config.data_dir, self.config.file),)

    @classmethod
    def tiny(cls, folder: Path) -> dict[str, Any]:
        """Two noisy waves of 200 rows."""
        random, hours = np.random.default_rng(0), np.arange(200)
        waves = np.sin(hours[:, None] / np.array([3.0, 7.0])) + 0.1 * random.normal(size=(200, 2))
        rows = [f"2020-01-01 {k:02},{a:.5f},{b:.5f}" for k, (a, b) in enumerate(waves)]
        (folder / "waves.csv").write_text("\n".join(["date,HUFL,OT", *rows]) + "\n")
        sizes = {"train_rows": 100, "val_rows": 40, "test_rows": 40}
        return {
            "data_dir": str(folder),
            "file": "waves.csv",
            "targets": ["OT"],
            "look_back": 24,
            "horizon": 8,
            **sizes,
        }

    def load(self) -> Splits:
        """The windows of the three parts.

        Raises:
            UsageError: a table that is missing or not right, too few rows, or a constant column.
        """
        config, (given, targets) = self.config, self._columns
        (file,) = self.data_files()
        ends = np.cumsum([config.train_rows, config.val_rows, config.test_rows])
        table = read_columns(file, given)
        require(len(table) >= ends[-1], f"{file}: {len(table)} rows, fewer than {ends[-1]}")
        window = config.look_back + config.horizon
        require(
            window <= config.train_rows,
            f"look_back + horizon: a window of {window} of {config.train_rows} training rows",
        )
        columns = [f"column {name!r}" for name in given]
        scale = Normalisation.of(table[: config.train_rows], columns, str(file))
        series = scale.apply(table)
        places = [given.index(name) for name in targets]
        first = [0, ends[0] - config.look_back, ends[1] - config.look_back]
        train, val, test = (
            Windows(series, range(a, b - window + 1), places, config.look_back, config.horizon)
            for a, b in zip(first, ends.tolist(), strict=True)
        )
        return Splits(train, val, test)

    def loss(
        self, prediction: Float[Tensor, "n y"], target: Float[Tensor, "n y"]
    ) -> Float[Tensor, ""]:
        """The mean squared error of standardised values."""
        return mse_loss(prediction, target)

    def metrics(self) -> MetricCollection:
        """Mean squared and mean absolute error of standardised values."""
        from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection

        return MetricCollection({"mse": MeanSquaredError(), "mae": MeanAbsoluteError()})

    def to_metric(
        self, prediction: Float[Tensor, "n y"], target: Float[Tensor, "n y"]
    ) -> tuple[Tensor, Tensor]:
        """Both in a row."""
        return prediction.flatten(), target.flatten()

    def baselines(self) -> Mapping[str, Predictor]:
        """The mean of the training rows, and the last row that is given, repeated."""
        given, targets = self._columns
        places, last = [given.index(name) for name in targets], self.config.look_back - 1

        def repeat_last(batch: Batch) -> Tensor:
            return batch.u[:, last, places].unsqueeze(1).expand(-1, batch.u.shape[1], -1)

        return {
            "mean": always(torch.zeros(len(targets)), per_step=True),
            "last value": repeat_last,
        }


class Windows(WindowedSequences):
    """Windows of a table whose last ``horizon`` rows are the targets, and hidden in u."""

    def __init__(
        self,
        series: Float[Tensor, "T c"],
        starts: range,
        targets: list[int],
        look_back: int,
        horizon: int,
    ):
        super().__init__(series, starts, look_back + horizon)
        self.targets, self.look_back = targets, look_back

    def of_windows(self, windows: Float[Tensor, "B L c"]) -> Batch:
        """The past with a zero channel, then zeros with a channel of ones."""
        future = torch.zeros_like(windows[..., :1])
        future[:, self.look_back :] = 1
        u = torch.cat([windows * (1 - future), future], dim=-1)
        return Batch(u, windows[:, self.look_back :, self.targets])
