"""Two processes on the CPU do what one does with the doubled batch; through the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ssmbench import jsonio
from ssmbench.config import fingerprint, merge, resolve
from ssmbench.results import Scores
from ssmbench.runs.execute import execute
from ssmbench.runs.folder import RunFolder
from ssmbench.runs.run import Run
from tests.ports import rendezvous
from tests.training.runs import TINY, TOYS, losses, rows, toys_registered

pytestmark = pytest.mark.slow

TWO = ("trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu")
#: One rank more or less changes the order of sums in float32, and rounding grows over the steps.
TOLERANCE = 1e-5
TIMEOUT = 120
MODULE = (sys.executable, "-m", "ssmbench")
CONSOLE_SCRIPT = (str(Path(sys.executable).with_name("ssmbench")),)
BASE = merge(TINY, {"analysis": {"every_n_epochs": 2}, "model": {"n_layers": 2}, "batch_size": 2})


def command(config: dict, root: Path, *overrides: str, via=MODULE) -> list[str]:
    """`ssmbench run` of a config, with the output under ``root``."""
    file = root / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    options = ("--output", str(root / "runs"), "--plugins", str(TOYS), "--json")
    return [*via, "run", str(file), *overrides, *options]


def run_on_two(config: dict, root: Path, via=MODULE, **env: str) -> subprocess.CompletedProcess:
    """`ssmbench run` with two processes, in a process of its own."""
    with rendezvous() as port:
        return subprocess.run(
            command(config, root, *TWO, via=via),
            env=os.environ | {"OMP_NUM_THREADS": "1"} | port | env,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )


def figures(scores: Scores) -> tuple[float, ...]:
    """With the best weights and with the last ones."""
    assert scores.further == {}
    return scores.val, scores.test, scores.last_val, scores.last_test


def only_folder(root: Path) -> Path:
    (folder,) = (root / "runs").iterdir()
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One process's folder, two processes' folder, and what the two printed; trained once."""
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    with toys_registered():
        config = resolve(merge(BASE, {"batch_size": 4}))
        assert execute(Run.of(config, one)) == "finished"
    output = run_on_two(BASE, two, TOY_WRITES=str(two / "writes"))
    assert output.returncode == 0, output.stderr
    return {"one": RunFolder(one / fingerprint(config)).path, "two": only_folder(two)} | {
        "output": output
    }


def test_prints_the_result_once(runs):
    printed = jsonio.loads(runs["output"].stdout)
    assert printed["status"] == "finished"
    assert printed["folder"] == str(runs["two"])


def test_losses_are_those_of_one_process_with_the_doubled_batch(runs):
    one, two = losses(runs["one"]), losses(runs["two"])
    assert list(one) == list(two) == list(range(16))
    assert list(two.values()) == pytest.approx(list(one.values()), rel=TOLERANCE)


def test_validation_is_that_of_one_process(runs):
    """Seven sequences on two ranks: an uneven share."""
    for key in ("val/rmse", "val/loss", "test/rmse"):
        one, two = ([r[key] for r in rows(runs[w]) if key in r] for w in ("one", "two"))
        assert one
        assert two == pytest.approx(one, rel=TOLERANCE)


def test_result_is_that_of_one_process(runs):
    one, two = (RunFolder(runs[which]).result for which in ("one", "two"))
    assert figures(two.scores) == pytest.approx(figures(one.scores), rel=TOLERANCE)
    assert two.steps == one.steps
    for key in ("verified", "attacked", "spectral_radius"):
        assert getattr(two.gain, key) == pytest.approx(getattr(one.gain, key), rel=1e-4)
    assert two.gain.violations == ()


def test_only_rank_zero_writes(runs):
    files = {p.relative_to(runs["two"]).as_posix() for p in runs["two"].rglob("*") if p.is_file()}
    plain = {name for name in files if "tfevents" not in name}
    assert plain == {
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "checkpoints/previous.ckpt",
        "claim-1.json",
        "config.yaml",
        "lock",
        "metrics.jsonl",
        "poles.npz",
        "worst_input.npz",
        "result.json",
        "sittings.jsonl",
        "status.json",
    }
    steps = [r["step"] for r in rows(runs["two"]) if "train/loss" in r]
    assert steps == list(range(16)), "each step once"
    processes = {name.split(".")[-2] for name in files if "tfevents" in name}
    assert len(processes) == 1


def test_other_ranks_open_no_file_of_the_run_for_writing(runs):
    """By the list of all files that each process opens for writing, moves or removes."""
    root = runs["two"].parents[1]
    changed = {
        rank: [name for name in (root / f"writes{rank}").read_text().splitlines() if "runs" in name]
        for rank in (0, 1)
    }
    assert any("metrics.jsonl" in name for name in changed[0])
    assert [name for name in changed[1] if name.startswith(str(root / "runs"))] == []


def test_two_nodes_train_as_one_of_two_processes(runs, tmp_path):
    """One process on each of two nodes, started by hand; both are this machine."""
    over = ("trainer.devices=1", "trainer.num_nodes=2", *TWO[1:])
    with rendezvous() as port:
        address = {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1", **port}
        nodes = [
            subprocess.Popen(
                command(BASE, tmp_path, *over),
                env=os.environ | address | {"NODE_RANK": str(node)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for node in (0, 1)
        ]
        outputs = [node.communicate(timeout=TIMEOUT) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], outputs
    assert jsonio.loads(outputs[0][0])["effective_batch"] == 4
    assert outputs[1][0] == ""
    folder = only_folder(tmp_path)
    assert losses(folder) == losses(runs["two"])
    assert figures(RunFolder(folder).result.scores) == figures(RunFolder(runs["two"]).result.scores)


def test_progress_is_printed_by_one_rank(runs):
    lines = [x for x in runs["output"].stderr.splitlines() if " epoch " in x]
    done = [line.partition(" epoch ")[2].split()[0] for line in lines]
    assert done == ["1/4", "2/4", "3/4", "4/4"]


@pytest.mark.skipif(
    not Path(*CONSOLE_SCRIPT).exists(), reason="ssmbench is not installed as a console script"
)
def test_all_ranks_stop_where_one_diverges(tmp_path):
    """By the console script. A rank left alone would wait forever for the thirteen other steps; and
    one that does not exit keeps nobody waiting who reads what both print."""
    fuse = {"name": "fuse", "d_state": 4, "at": 2, "rank": 1}
    config = merge(BASE, {"model": {"parametrization": fuse, "n_layers": 1}})
    output = run_on_two(config, tmp_path, CONSOLE_SCRIPT, TOY_HANGS="1")
    assert output.returncode == 0, output.stderr
    result = jsonio.loads(output.stdout)
    assert (result["status"], result["diverged_at"]) == ("diverged", 2)
    assert list(losses(only_folder(tmp_path))) == [0, 1]
    assert "NaN" not in output.stdout


@pytest.fixture
def interrupted(tmp_path):
    """A config whose run on two ranks ended after the first epoch, by an error on one of them."""
    mortal = TINY["model"]["parametrization"] | {"name": "mortal"}
    config = merge(BASE, {"model": {"parametrization": mortal}})
    died = run_on_two(config, tmp_path, TOY_DIE_AT="6", TOY_DIE_RANK="1")
    assert died.returncode == 1, died.stderr
    assert "Traceback" not in died.stderr
    return config


def test_interrupted_run_goes_on(runs, interrupted, tmp_path):
    """The same command ends as if they had not."""
    folder = only_folder(tmp_path)
    assert RunFolder(folder).state == "failed"
    reason = "rank 1 failed: RuntimeError: killed by the test (full traceback: "
    assert reason in RunFolder(folder).reason
    assert (folder / "checkpoints" / "last.ckpt").exists()
    resumed = run_on_two(interrupted, tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    steps = [r["step"] for r in rows(folder) if "train/loss" in r]
    assert steps == list(range(16)), "the second epoch is begun again, and written once"
    assert losses(folder) == pytest.approx(losses(runs["two"]), rel=1e-6)
    expected = figures(RunFolder(runs["two"]).result.scores)
    assert figures(RunFolder(folder).result.scores) == pytest.approx(expected, rel=1e-6)


def test_no_rank_outlives_a_killed_rank_zero(tmp_path):
    """Both write to the same pipe, which is closed when the last one has ended; here the other one
    would hang."""
    mortal = TINY["model"]["parametrization"] | {"name": "mortal"}
    config = merge(BASE, {"model": {"parametrization": mortal}})
    death = {"TOY_DIE_AT": "6", "TOY_DIE_RANK": "0", "TOY_DIE_HOW": "SIGKILL"}
    died = run_on_two(config, tmp_path, TOY_HANGS="1", **death)
    assert died.returncode == -signal.SIGKILL
    assert RunFolder(only_folder(tmp_path)).state == "interrupted"
