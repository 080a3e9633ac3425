"""``torch.compile`` of networks of every parametrization, by ``tools/compile_table.py``."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from ssmbench import jsonio, registry
from tests.tools import load_tool

#: A bank, a dense and a diagonal system: their backward passes are traced too.
SCANS = ("s4d", "l2ru", "contraction")


def rows_of(root, *arguments: str) -> list[str]:
    """The table's rows. In processes of its own: those of the tests check types of arrays inside
    each function, and a kernel that got a fake tensor's address would end one."""
    small = ["--layers", "1", "--width", "4", "--length", "16", "--steps", "0"]
    command = [sys.executable, str(root / "tools/compile_table.py"), *small, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return [line for line in done.stdout.splitlines() if line.startswith("| `")]


@pytest.mark.slow
def test_every_network_is_one_graph(root):
    """Graph breaks and differences are the exit status; every registered name has a row."""
    rows = rows_of(root, "--backend", "eager")
    assert [row.split("`")[1] for row in rows] == registry.parametrizations.names()


@pytest.mark.slow
def test_backward_passes_are_traced(root):
    assert len(rows_of(root, "--backend", "aot_eager", *SCANS)) == len(SCANS)


@pytest.mark.slow
def test_other_lengths_batches_and_time_steps(root):
    """A second length makes a graph for all of them, and so does a second number of sequences; one
    sequence is a number of its own to torch. Padding and time steps break no graph."""
    command = [sys.executable, "-m", "tests.nn.compiled_calls"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr[-3000:]
    answers = jsonio.loads(done.stdout.splitlines()[-1])
    graphs = {name: found["graphs"] for name, found in answers.items()}
    assert graphs == {"lengths": 2, "batches": 3, "padded": 2, "uneven": 2}
    for found in answers.values():
        assert found["breaks"] == 0
        assert found["difference"] < 2e-5  # of float32, and of another order of the sums


def test_the_tool_finds_what_is_wrong():
    """A factor in one gradient, a gradient that is missing, a NaN, a graph break, a crash."""
    tool = load_tool("compile_table")
    right = [torch.ones(3), torch.tensor([1.0, -2.0]), None]
    factor = [right[0], right[1] * torch.tensor([1.0, 1.0005]), None]
    assert tool.difference(right, right) == 0
    assert tool.difference(factor, right) == pytest.approx(5e-4, rel=1e-3)
    assert tool.difference([right[0], None, None], right) == float("inf")
    assert tool.difference([right[0] * float("nan"), *right[1:]], right) == float("inf")
    row = {"graphs": 1, "breaks": 0, "difference": 1e-5}
    assert tool.is_right(row, 2e-4)
    assert not tool.is_right(row | {"difference": tool.difference(factor, right)}, 2e-4)
    assert not tool.is_right(row | {"breaks": 1}, 2e-4)
    assert not tool.is_right(row | {"graphs": 2}, 2e-4)
    assert not tool.is_right({"error": "ended with status -11"}, 2e-4)
