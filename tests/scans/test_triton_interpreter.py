"""Runs the cases that need a kernel in Triton's interpreter, which needs no GPU."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ssmbench.registry import PLUGINS_VARIABLE

pytest.importorskip("triton", reason="the package triton is not installed")

FOLDER = Path(__file__).parent
FILES = tuple(f"test_triton_{part}.py" for part in ("kernels", "systems", "selective", "sampling"))


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1",
    reason="this process runs the interpreter already, and collects the cases itself",
)
def test_kernels_in_the_interpreter():
    """In one process of its own: TRITON_INTERPRET counts only when Triton is imported.

    Without plugins and the fixtures of the folders above, which take seconds to import.
    """
    options = ["-q", "-rs", "-p", "no:cacheprovider", "-p", "no:xdist", f"--confcutdir={FOLDER}"]
    paths = [str(FOLDER.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *FILES],
        env={
            **os.environ,
            "TRITON_INTERPRET": "1",
            "PYTHONPATH": os.pathsep.join(paths),
            PLUGINS_VARIABLE: "",
        },
        cwd=FOLDER,  # where no folder of plugins is
        capture_output=True,
        text=True,
    )
    output = f"{done.stdout[-20000:]}\n{done.stderr[-2000:]}"
    assert done.returncode == 0, output
    assert re.search(r"\b[1-9]\d* passed", output), output
    assert "skipped" not in output, output
