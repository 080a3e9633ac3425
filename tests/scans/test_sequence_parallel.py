"""Segments on real gloo ranks against one process: outputs, final state, every gradient."""

import subprocess
import sys
from pathlib import Path

import pytest

RANK = Path(__file__).with_name("sequence_parallel_rank.py")


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_segments_on_ranks_agree_with_one_process(ranks, tmp_path):
    command = [sys.executable, str(RANK)]
    store = str(tmp_path / "store")
    started = [
        subprocess.Popen(
            [*command, str(rank), str(ranks), store],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(ranks)
    ]
    outputs = [process.communicate(timeout=240)[0] for process in started]
    for rank, (process, output) in enumerate(zip(started, outputs, strict=True)):
        assert process.returncode == 0, output[-3000:]
        assert f"rank {rank} checked 57" in output
