"""Networks with lengths and learned initial states, their sequences shared by two real ranks."""

import subprocess
import sys
from pathlib import Path

import pytest

RANK = Path(__file__).with_name("segments_rank.py")


@pytest.mark.slow
def test_shared_sequences_give_the_same_predictions_and_gradients(tmp_path):
    store = str(tmp_path / "store")
    started = [
        subprocess.Popen(
            [sys.executable, str(RANK), str(rank), "2", store],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=240)[0] for process in started]
    for rank, (process, output) in enumerate(zip(started, outputs, strict=True)):
        assert process.returncode == 0, output[-3000:]
        assert f"rank {rank} checked 16" in output
