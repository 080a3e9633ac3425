"""The tool that computes the figures of generated data in docs/tasks.md."""

import numpy as np
import pytest

from tests.tools import load_tool


def test_figures_are_those_of_the_generators():
    tool = load_tool("generated_figures")
    share, median = tool.listops_lengths(10_000)
    assert share == pytest.approx(0.083, abs=0.01)
    assert median == pytest.approx(957, abs=60)
    discs, labels = tool.pathfinder_discs(256)
    assert (discs[:, 0, 0] <= discs[:, 1, 0]).all()
    assert set(labels.tolist()) == {0, 1}


def test_a_feature_tells_what_it_tells():
    tool = load_tool("generated_figures")
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 400)
    assert tool.told_by(labels[:, None] + 0.1 * random.random((400, 1)), labels) > 0.98
    assert tool.told_by(random.random((400, 1)), labels) < 0.6
