"""Silverbox: what of the files is trained on, held out and tested."""

import os

import numpy as np
import pytest

from ssmbench.errors import UsageError
from ssmbench.tasks.data import DATA_VARIABLE, read_columns
from ssmbench.tasks.sysid.silverbox import FILES, Silverbox, SilverboxConfig
from tests.tasks.tiny import tiny_options

PUBLISHED = os.environ.get(DATA_VARIABLE)
needs_published = pytest.mark.skipif(
    not PUBLISHED, reason=f"{DATA_VARIABLE} does not name a folder with {FILES[0]}"
)


def silverbox(**settings):
    return Silverbox(SilverboxConfig(**settings), batch_size=8, seed=0)


def shapes(task):
    names = ("train", "val", "test", *task.further_tests())
    return {name: tuple(task.sample(name).u.shape[:2]) for name in names}


def test_the_parts_of_the_record():
    task = silverbox(**tiny_options("silverbox") | {"stride": 256})
    assert shapes(task) == {
        "train": (286, 1024),
        "val": (1, 9216),
        "test": (1, 40_000),
        "arrow to 25,000": (1, 25_000),
        "arrow to 30,000": (1, 30_000),
        "multisine": (1, 5544),
    }
    scored = {name: task.sample(name).target.shape[1] for name in shapes(task)}
    assert list(scored.values()) == [896, 8192, 40_000, 24_800, 29_800, 4520]


@needs_published
def test_published_records_and_their_baselines():
    """The figures of the mean and the filter were found by a program of another author too."""
    task = silverbox(data_dir=PUBLISHED)
    table = 1000 * read_columns(task.data_files()[0], ("V1", "V2"))
    _, volts = task.batch_metric(task.sample("test").target, task.sample("test"))
    np.testing.assert_allclose(volts.numpy(), table[:40_000, 1], atol=1e-3)
    assert {k: round(v, 1) for k, v in task.baseline_scores().items()} == {
        "mean": 52.9,
        "linear FIR of 200 taps": 14.1,
    }


@needs_published
def test_the_schroeder_multisine_can_be_trained_on_too():
    task = silverbox(data_dir=PUBLISHED, schroeder=True)
    assert len(task.data_files()) == 2
    assert task.sample("train").u.shape[0] == 286 + 477
    assert task.split("val").u.shape == (2, 9216, 1)


def test_a_missing_file_and_a_bad_cell_are_refused_in_one_line(tmp_path):
    with pytest.raises(UsageError, match="SNLS80mV"):
        silverbox(data_dir=str(tmp_path)).setup()
    rows = ['"V1","V2",', *(["0.1,0.2,"] * 131_071), "0.1,x,"]
    (tmp_path / "SNLS80mV.csv").write_text("\n".join(rows))
    with pytest.raises(UsageError, match=r"SNLS80mV.csv:131073: cell 2") as caught:
        silverbox(data_dir=str(tmp_path)).setup()
    assert "\n" not in str(caught.value)
