"""Forecasting: windows of a table, what is hidden, and what is refused."""

import numpy as np
import pytest
import torch

from ssmbench.errors import UsageError
from ssmbench.tasks.forecast.table import Forecast
from tests.tasks.tiny import tiny_options, tiny_task


def table_of(task):
    (file,) = task.data_files()
    rows = [line.split(",")[1:] for line in file.read_text().splitlines()[1:]]
    return np.array(rows, dtype=float)


@pytest.mark.parametrize(("split", "first"), [("train", 0), ("val", 76), ("test", 116)])
def test_windows_are_those_of_the_table(split, first):
    task = tiny_task("forecast")
    table = table_of(task)
    scaled = (table - table[:100].mean(0)) / table[:100].std(0)
    data = task.split(split)
    assert len(data) == {"train": 69, "val": 33, "test": 33}[split]
    batch = data.batch([0, 5])
    for k, row in enumerate((first, first + 5)):
        np.testing.assert_allclose(batch.u[k, :24, :2], scaled[row : row + 24], atol=1e-5)
        expected = scaled[row + 24 : row + 32, 1:]
        np.testing.assert_allclose(batch.target[k], expected, atol=1e-5)


def test_the_future_is_hidden_and_marked():
    batch = tiny_task("forecast").split("train").batch(range(5))
    assert torch.equal(batch.u[:, 24:, :2], torch.zeros(5, 8, 2))
    assert torch.equal(batch.u[..., 2], (torch.arange(32) >= 24).float().expand(5, -1))


def test_baselines_are_what_they_say():
    task = tiny_task("forecast", horizon=1)
    table = table_of(task)[:, 1]
    scaled = (table - table[:100].mean()) / table[:100].std()
    scores = task.baseline_scores()
    assert scores["mean"] == pytest.approx(np.mean(scaled[140:180] ** 2), rel=1e-4)
    changes = scaled[140:180] - scaled[139:179]
    assert scores["last value"] == pytest.approx(np.mean(changes**2), rel=1e-4)


def test_columns_of_numbers_by_default():
    sizes = tiny_task("forecast", targets=[]).sizes
    assert (sizes.input.count, sizes.outputs) == (3, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": ["HUFL", "OTT"]}, r"waves\.csv: no column 'OTT'; did you mean 'OT'"),
        ({"columns": ["HUFL"]}, "targets: OT must be among columns"),
        ({"test_rows": 100}, r"waves\.csv: 200 rows, fewer than 240"),
        ({"look_back": 100}, "a window of 108 of 100 training rows"),
        ({"file": "/no/such.csv"}, r"file: /no/such\.csv: no such file"),
        ({"columns": ["date", "OT"]}, r"waves\.csv:2: cell 1 is not a finite number"),
    ],
)
def test_what_does_not_fit_is_named(options, message):
    with pytest.raises(UsageError, match=message):
        tiny_task("forecast", **options).split("train")


def test_a_constant_column_is_named(tmp_path):
    Forecast.tiny(tmp_path)
    text = (tmp_path / "waves.csv").read_text().splitlines()
    rows = [text[0], *(",".join([line.split(",")[0], "1", "2"]) for line in text[1:])]
    (tmp_path / "waves.csv").write_text("\n".join(rows))
    options = tiny_options("forecast") | {"data_dir": str(tmp_path)}
    with pytest.raises(UsageError, match="column 'HUFL' is constant"):
        tiny_task("forecast", **options).split("train")
