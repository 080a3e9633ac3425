"""Launches of a layer are counted where kernels are not run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ssmbench import jsonio
from tests.tools import TOOLS, load_tool

pytest.importorskip("triton", reason="the package triton is not installed")


def test_a_selective_layer_is_one_kernel_each_way_and_so_is_the_sampling_of_a_bank(tmp_path):
    """In a process of its own, in which Triton is interpreted; u, y and their gradients are 16
    bytes of what the kernels are given, and the step sizes and theirs as many."""
    figures = tmp_path / "launches.json"
    size = ("--batch", "1", "--length", "64", "--width", "8")
    tool = [sys.executable, TOOLS / "layer_launches.py"]
    command = [*tool, "selective", "s4d", *size, "-o", figures]
    subprocess.run(command, check=True, capture_output=True, env=dict(os.environ))
    row, bank = jsonio.loads(figures.read_text())
    assert row["forward"]["kernels"] == {"selective_forward_kernel": 1}
    assert row["backward"]["kernels"] == {"selective_backward_kernel": 1}
    assert row["forward"]["kernel_bytes"] > 12
    assert row["backward"]["kernel_bytes"] > 20
    assert row["forward"]["pytorch"] > 0
    assert bank["forward"]["kernels"]["sample_modes_kernel"] == 1
    assert bank["backward"]["kernels"]["sample_modes_backward_kernel"] == 1


def test_the_table_is_that_of_the_figures(tmp_path, monkeypatch):
    tables = load_tool("doc_tables")
    monkeypatch.setattr(tables, "LAUNCHES", tmp_path / "launches.json")
    assert tables.launches() == tables.NOT_MEASURED
    ways = {
        way: {"pytorch": count, "kernels": {"some_kernel": 2}, "kernel_bytes": 12.4}
        for way, count in (("forward", 3), ("backward", 4))
    }
    row = {"parametrization": "s4d", "batch": 1, "length": 2, "channels": 3, **ways}
    tables.LAUNCHES.write_text(jsonio.dumps([row]))
    last = tables.launches().splitlines()[-1]
    assert last == "| `s4d` | 2 `some_kernel` | 3 | 12 | 2 `some_kernel` | 4 | 12 |"
