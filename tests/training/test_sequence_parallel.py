"""Two processes that share each sequence train as one process does; through the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ssmbench import jsonio
from ssmbench.config import fingerprint, merge, resolve
from ssmbench.errors import UsageError
from ssmbench.runs.execute import execute
from ssmbench.runs.run import Run
from tests.ports import rendezvous
from tests.training.runs import TINY, check, losses

#: Sums over a sequence are taken in another order, and rounding grows over the steps.
TOLERANCE = 1e-4
TASKS = {
    "per step": {"task": {"name": "cascaded_tanks", "records": "simulation", "window": 65}},
    "pooled": {"task": "digits"},
}


def share_on_two(config: dict, root: Path) -> Path:
    """`ssmbench run` with two ranks per sequence, in a process of its own; the run's folder."""
    file = root / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    overrides = ("trainer.devices=2", "trainer.strategy=ddp", "sequence_parallel=2")
    with rendezvous() as port:
        output = subprocess.run(
            [sys.executable, "-m", "ssmbench", "run", str(file), *overrides]
            + ["--output", str(root / "runs"), "--json"],
            env=os.environ | {"OMP_NUM_THREADS": "1"} | port,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
    assert output.returncode == 0, output.stderr[-3000:]
    (folder,) = (root / "runs").iterdir()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_sharing_sequences_changes_nothing(task, tmp_path):
    short = {"max_epochs": 1, "limit_train_batches": 4, "limit_val_batches": 2}
    short |= {"limit_test_batches": 2}
    config = merge(TINY, {"batch_size": 4, "model": {"n_layers": 2}, "trainer": short})
    config = merge(config, {"analysis": {"robustness_sequences": 8}})  # 256 take most of the time
    config = merge(config, task)
    alone = tmp_path / "alone"
    assert execute(Run.of(resolve(config), alone)) == "finished"
    one, two = alone / fingerprint(resolve(config)), share_on_two(config, tmp_path)
    expected, found = losses(one), losses(two)
    assert len(expected) == len(found) > 0
    assert found == pytest.approx(expected, rel=TOLERANCE)
    first, second = (jsonio.loads((f / "result.json").read_text()) for f in (one, two))
    assert second["scores"].pop("further") == first["scores"].pop("further") == {}
    assert second["scores"] == pytest.approx(first["scores"], rel=TOLERANCE)
    assert second["gain"]["verified"] == pytest.approx(first["gain"]["verified"], rel=TOLERANCE)


@pytest.mark.parametrize("devices", [1, 3])
def test_ranks_that_cannot_be_grouped_are_refused(devices):
    config = merge(TINY, TASKS["pooled"])
    config = resolve(merge(config, {"sequence_parallel": 2, "trainer": {"devices": devices}}))
    with pytest.raises(UsageError, match="2 ranks per sequence do not divide"):
        check(config)


@pytest.mark.parametrize("place", ["norm", "final_norm"])
def test_a_norm_of_the_batch_is_refused_before_training(place):
    over = {"sequence_parallel": 2, "trainer": {"devices": 2}, "model": {place: "batch"}}
    config = resolve(merge(merge(TINY, TASKS["pooled"]), over))
    with pytest.raises(UsageError, match=r"sequence_parallel: .*batch normalisation cannot share"):
        check(config)
