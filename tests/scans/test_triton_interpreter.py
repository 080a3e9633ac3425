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
#: Processes that share the cases of each file, so that none takes long.
SHARDS = {"kernels": 4, "systems": 8}


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1",
    reason="this process runs the interpreter already, and collects the cases itself",
)
@pytest.mark.parametrize(
    ("name", "shard"), [(name, shard) for name, n in SHARDS.items() for shard in range(n)]
)
def test_kernels_in_the_interpreter(name, shard):
    """In its own process: TRITON_INTERPRET counts only when Triton is imported."""
    case = str(FOLDER / f"test_triton_{name}.py")
    options = ["-q", "-rs", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, case],
        env={
            **os.environ,
            "TRITON_INTERPRET": "1",
            "SSMBENCH_TEST_SHARD": f"{shard}/{SHARDS[name]}",
        },
        cwd=FOLDER.parents[1],
        capture_output=True,
        text=True,
    )
    output = f"{done.stdout[-20000:]}\n{done.stderr[-2000:]}"
    assert done.returncode == 0, output
    assert re.search(r"\b[1-9]\d* passed", output), output
    assert "skipped" not in output, output
