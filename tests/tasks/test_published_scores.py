"""Published scores: of the publications' options alone, and as the publications state them."""

import csv
import sys
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pytest

from ssmbench.registry import tasks
from ssmbench.tasks.archives import published_scores as archive
from ssmbench.tasks.archives.time_series import TimeSeries, TimeSeriesConfig
from ssmbench.tasks.audio.speech_commands import Words
from ssmbench.tasks.lra.published_scores import TASKS, arena_scores
from tests.tasks.tiny import tiny_options, tiny_task


def scores(name, **options):
    """The published scores of a task, by model and test set."""
    entry = tasks.get(name)
    task = entry.build(entry.config(**options), batch_size=8, seed=0)
    found = task.published_scores()
    assert all(0 < one.score < 1 and one.source for one in found)
    return {(one.model, one.test_set): one.score for one in found}


def test_the_average_over_the_arena_is_the_published_one():
    """Smith et al. 2023 state 87.46 for S5, Parnichkun et al. 2024 state 87.71 for RTF."""
    for model, average in (("S5", 87.46), ("RTF", 87.71)):
        each = [p.score for name in TASKS for p in arena_scores(name) if p.model == model]
        assert len(each) == 6
        assert 100 * np.mean(each) == pytest.approx(average, abs=0.01)


def test_text_of_the_s4_repository_was_selected_on_test():
    selected = {one.model: one.selected_on for one in arena_scores("text")}
    assert (selected["S4D-LegS"], selected["S5"]) == ("test", "not stated")
    assert {one.selected_on for one in arena_scores("image")} == {"validation", "not stated"}


def test_the_lists_are_of_the_default_options():
    assert scores("listops")["S5", "test"] == 0.6215
    assert scores("text")["Mega", "test"] == 0.9043
    assert scores("retrieval")["S4D-Inv", "test"] == 0.9109
    assert scores("mnist") == {("S5", "test"): 0.9965}
    assert scores("speech_commands")["S4D-Lin", "test"] == 0.9625
    assert scores("speech_commands", half_rate=True)["S4D-Lin", "half rate"] == 0.9158


def test_other_options_have_none():
    assert scores("listops", max_length=1000) == {}
    assert scores("listops", train_expressions=1000) == {}
    assert scores("text", max_length=1024) == {}
    assert scores("mnist", permutation="bit_reversal") == {}
    assert scores("speech_commands", words=Words.commands) == {}
    for name in ("pathfinder", "scifar", "image", "listops", "mnist", "retrieval", "text"):
        assert list(tiny_task(name).published_scores()) == []


def test_some_of_the_training_images_are_not_all(tmp_path):
    options = tiny_options("scifar")
    assert scores("scifar", **options) == {}
    first = next(iter(tiny_task("scifar").data_files()))
    for k in range(1, 6):
        (tmp_path / f"data_batch_{k}.bin").write_bytes(first.read_bytes())
    (tmp_path / "test_batch.bin").write_bytes(first.read_bytes())
    assert scores("scifar", data_dir=str(tmp_path))["LRU", "test"] == 0.89
    assert ("LRU", "test") not in scores("image", data_dir=str(tmp_path))
    assert scores("image", data_dir=str(tmp_path), val_share=0.2) == {}


def test_published_images_of_pathfinder_and_of_no_other_level(tmp_path):
    for folder in ("pathfinder32/curv_contour_length_14", "pathfinder128/curv_baseline"):
        (tmp_path / folder / "metadata").mkdir(parents=True)
    assert scores("pathfinder", data_dir=str(tmp_path))["S5", "test"] == 0.9533
    assert scores("pathfinder", data_dir=str(tmp_path), size=128, level="easy") == {}


@pytest.mark.parametrize("installed", [True, False])
def test_accuracies_on_the_archives_are_those_of_the_package(tmp_path, monkeypatch, installed):
    """A package with the layout of aeon's files."""
    folder = tmp_path / archive.FOLDER
    folder.mkdir(parents=True)
    for name, first in (("HC2", 0.91), ("FreshPRINCE", 0.89)):
        with (folder / f"{name}_accuracy.csv").open("w") as file:
            csv.writer(file).writerows([["Resamples:", 0, 1], ["ACSF1", first, 0.5]])
    monkeypatch.setattr(archive, "package_folder", lambda name: tmp_path if installed else None)
    expected = {("HC2", "test"): 0.91, ("FreshPRINCE", "test"): 0.89} if installed else {}
    assert scores("time_series", dataset="ACSF1") == expected
    assert scores("time_series", dataset="ACSF2") == {}


def test_accuracies_that_aeon_carries():
    try:
        version("aeon")
    except PackageNotFoundError:
        pytest.skip("the package aeon is not installed")
    config = TimeSeriesConfig(dataset="ACSF1")
    found = TimeSeries(config, batch_size=1, seed=0).published_scores()
    assert sorted(one.score for one in found) == [0.89, 0.91, 0.91, 0.93]
    assert "aeon" not in sys.modules
