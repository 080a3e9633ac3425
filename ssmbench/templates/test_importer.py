"""Tests of the importer leaky_average, for pytest."""

from pathlib import Path

import numpy as np

import ssmbench as sb
from ssmbench.registry import add_plugin_paths, importers

HERE = Path(__file__).parent
add_plugin_paths([HERE / "leaky_average.py"])


def test_it_passes_every_check():
    report = sb.check("importer", "leaky_average")
    assert report.ok, report


def test_its_example_becomes_a_run(tmp_path):
    arrays = importers.get("leaky_average").build().example()
    np.savez(tmp_path / "weights.npz", **arrays)
    run = sb.import_run(tmp_path / "weights.npz", "leaky_average", output=tmp_path / "run")
    assert run.state == "finished"
