"""Runs the cases that need a kernel in Triton's interpreter, which needs no GPU."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="the package triton is not installed")

FOLDER = Path(__file__).parent
CASES = [str(FOLDER / f"test_triton_{name}.py") for name in ("kernels", "systems")]


@pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1",
    reason="this process interprets already, and collects the cases itself",
)
def test_kernels_in_the_interpreter():
    """In its own process: TRITON_INTERPRET counts only when Triton is imported."""
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *CASES]
    done = subprocess.run(
        command,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=FOLDER.parents[1],
        capture_output=True,
        text=True,
    )
    output = f"{done.stdout[-20000:]}\n{done.stderr[-2000:]}"
    assert done.returncode == 0, output
    assert re.search(r"\b[1-9]\d* passed", output), output
    assert "skipped" not in output, output
