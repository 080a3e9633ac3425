"""The tool that measures how loose a trained network's promise is, on a tiny budget."""

import math
import sys
from types import SimpleNamespace

import pytest
import torch

from ssmbench import jsonio
from ssmbench.tasks.classification import Classification
from tests.tools import load_tool

TINY = ["--steps", "2", "--attack-steps", "2", "4", "--set", "model.d_model=4", "batch_size=8"]
STATES = "model.parametrization.d_state=4"


@pytest.fixture(scope="module")
def tool():
    return load_tool("network_slack")


@pytest.fixture
def rows(tool, tmp_path):
    """Call the tool; its rows."""

    def call(*arguments):
        file = tmp_path / "rows.json"
        assert tool.main([*TINY, STATES, *arguments, "--json", str(file)]) == 0
        return jsonio.loads(file.read_text())

    return call


def test_every_network_keeps_the_order_of_its_gains(rows, capsys):
    found = rows("--blocks", "1", "2", "--gamma", "3")
    assert [row["blocks"] for row in found] == [1, 2]
    for row in found:
        assert row["declared"] == 3
        assert row["composed"] <= 3 * (1 + 1e-4)
        for where in ("logits", "steps"):
            few, more = (row["attacked"][where][steps] for steps in ("2", "4"))
            assert 0 < few <= more <= row["composed"] * (1 + 1e-4)
            assert row["slack"][where]["4"] == pytest.approx(3 / more)
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 2 + len(found)
    assert len({line.count("|") for line in lines}) == 1


def test_the_seed_decides_everything(rows):
    two, again = (rows("--blocks", "1", "--seeds", "2") for _ in range(2))
    figures = [[row["attacked"] for row in run] for run in (two, again)]
    assert figures[0] == figures[1]
    assert figures[0][0] != figures[0][1]


def test_a_network_that_diverged_is_a_line_of_the_table(rows, capsys, monkeypatch):
    monkeypatch.setattr(Classification, "loss", lambda self, y, target: y.sum() * math.nan)
    (row,) = rows("--blocks", "1")
    assert "slack" not in row
    assert row["error"] == "diverged at step 0"
    assert row["error"] in capsys.readouterr().out


def test_wrong_usage_is_one_line(tool, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "neural_ssm", None)  # as where it is not installed
    wrong = (["--set", "model.gama=3"], ["--blocks", "0"], ["--peer"])
    for arguments in wrong:
        assert tool.main(arguments) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_residual_is_verified_together_with_its_cell(tool):
    """1 + 0.5 / (z - 0.5) peaks at z = 1; with the sign changed, at z = -1, where it is 4 / 3."""
    for gain, peak in ((1.0, 2.0), (-1.0, 4 / 3)):
        matrices = [torch.tensor([[x]]) for x in (0.5, 1.0, gain, 0.0)]
        cell = SimpleNamespace(compute_z_matrices=lambda matrices=matrices: matrices)
        assert tool.residual_gain(cell, 0.5) == pytest.approx(peak, rel=1e-6)
