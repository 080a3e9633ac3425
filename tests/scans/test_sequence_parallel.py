"""Segments on real gloo ranks against one process: outputs, final state, every gradient."""

import subprocess
import sys
from pathlib import Path

import pytest

RANK = Path(__file__).with_name("sequence_parallel_rank.py")


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
def test_segments_on_ranks_agree_with_one_process(ranks, tmp_path):
    command = [sys.executable, str(RANK), str(ranks), str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr[-3000:]}"
    assert sorted(done.stdout.splitlines()) == [f"rank {k} checked 57" for k in range(ranks)]
