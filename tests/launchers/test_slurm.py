"""A suite through a real Slurm of three nodes: what it loses, and what it does not run twice."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest
import torch

from ssmbench import jsonio, registry
from ssmbench.errors import InterruptedRunError, SsmbenchError, UsageError
from ssmbench.launchers import slurm as slurm_launcher
from ssmbench.launchers.jobs import cancel_all, jobs_in_queue
from ssmbench.launchers.submission import Config, Shape, minutes, parameters, shape_of, tail_of_log
from ssmbench.runs.folder import RunFolder
from ssmbench.runs.run import Run
from ssmbench.suite.grid import load_suite
from ssmbench.suite.session import run_suite
from tests.runs.results import complete
from tests.slurm_cluster import Cluster, slurm, wait_until

__all__ = ["slurm"]  # a fixture

SLOW_START = '''
import time
from pathlib import Path

from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.options import option
from ssmbench.registry import nonlinearities


class Waits(Nonlinearity):
    """Leaves a line in a file at its second step, and waits there for another file."""

    lipschitz = 1.0
    name = ""
    steps = 0

    def forward(self, x):
        self.steps += self.training
        if self.steps == 2:
            with open(f"{self.name}.begun", "a") as file:
                file.write("begun\\n")
            while not Path(f"{self.name}.go").exists():
                time.sleep(0.05)
        return x


@nonlinearities.register("first")
class First(Waits):
    """In the job whose node is lost."""

    name = "first"


@nonlinearities.register("last")
class Last(Waits):
    """In the job whose time is over."""

    name = "last"


@nonlinearities.register("two")
class Two(Waits):
    """On two nodes."""

    name = "two"
'''


@pytest.fixture
def cluster(slurm: Cluster, monkeypatch) -> Cluster:
    """The cluster, found by this process."""
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    return slurm


@pytest.fixture
def suite(write, tiny_suite, monkeypatch):
    """Twelve runs of three steps: ten of one process, and two on two nodes."""
    write("waits.py", SLOW_START)
    monkeypatch.setenv(registry.PLUGINS_VARIABLE, "waits.py")
    tiny_suite["base"]["model"] |= {"parametrization": "l2ru"}
    tiny_suite["base"]["trainer"] |= {"limit_train_batches": 3}
    models = {"First": {"nonlinearity": "first"}, "Wide": {"d_model": 6}, "Wider": {"d_model": 8}}
    models |= {"Deep": {"n_layers": 2}, "Last": {"nonlinearity": "last"}}
    variants = {name: {"model": model} for name, model in models.items()}
    variants["Two"] = {
        "model": {"nonlinearity": "two"},
        "trainer": {"num_nodes": 2, "strategy": "ddp"},
    }
    tiny_suite |= {"variants": variants, "seeds": [0, 1]}
    return load_suite(write("suite.yaml", tiny_suite))


LAUNCHER = {"name": "slurm", "runs_per_job": 5, "poll": 0.5, "wait": False}


def count(file: str) -> int:
    return len(Path(file).read_text().splitlines()) if Path(file).exists() else 0


def losses(run: Run) -> list[int]:
    rows = (run.folder.path / "metrics.jsonl").read_text().splitlines()
    return [row["step"] for row in map(jsonio.loads, rows) if "train/loss" in row]


def story(run: Run) -> str:
    """What became of a run, for the message of an assertion."""
    folder = run.folder
    kept = ("status.json", "sittings.jsonl", "error.txt", "output.log")
    files = [folder.path / name for name in kept]
    files += sorted((folder.path.parents[1] / "slurm").glob("*_log.err"))
    texts = [f"{file}:\n{file.read_text()[-3000:]}" for file in files if file.exists()]
    return "\n".join([f"{run.label}: {folder.state}: {folder.reason}", *texts])


def weights(run: Run) -> dict[str, torch.Tensor]:
    file = run.folder.path / "checkpoints" / "last.ckpt"
    return torch.load(file, map_location="cpu", weights_only=True)["state_dict"]


@pytest.mark.slow
def test_a_suite_outlives_a_node_a_requeue_and_the_end_of_its_time(cluster, suite, workplace):
    assert run_suite(suite, workplace / "out", LAUNCHER) == 0
    runs = {run.label.removeprefix("digits/"): run for run in suite.runs(workplace / "out")}
    submitted = {name: run.folder.status["job"] for name, run in runs.items()}
    assert sorted(Counter(submitted.values()).values()) == [1, 1, 5, 5]
    assert run_suite(suite, workplace / "out", LAUNCHER) == 0
    assert {name: run.folder.status["job"] for name, run in runs.items()} == submitted
    assert len(list((workplace / "out" / "slurm").glob("*.pkl"))) == 4, "nothing submitted again"

    # somebody queues a job on two nodes again
    wait_until(lambda: count("two.begun") == 4, cluster.logs())
    cluster.ask("scontrol", "requeue", submitted["Two-s0"])
    Path("two.go").touch()
    # the time of a job is over: it writes checkpoints, and queues itself again
    wait_until(lambda: count("last.begun") == 2, cluster.logs())
    cluster.ask("scancel", "--signal=USR1", submitted["Last-s0"])
    Path("last.go").touch()
    log = workplace / "out" / "slurm" / f"{submitted['Last-s0']}_0_log.err"
    wait_until(lambda: "scontrol requeue: exit code 0" in log.read_text(), cluster.logs())
    # a node is lost with the jobs on it, which Slurm starts again on other nodes
    wait_until(lambda: count("first.begun") == 2, cluster.logs())
    job = submitted["First-s0"]
    cluster.kill_node(cluster.ask("squeue", "--noheader", "--format=%N", f"--job={job}").strip())
    wait_until(lambda: count("first.begun") == 4, "the lost job starts again")
    Path("first.go").touch()

    assert run_suite(suite, workplace / "out", LAUNCHER | {"wait": True}) == 0
    for name, run in runs.items():
        assert run.folder.state == "finished", story(run)
        assert losses(run) == [0, 1, 2], f"each step once: {story(run)}"
        assert run.folder.status["job"] == submitted[name], f"submitted again: {story(run)}"
    sittings = (runs["Last-s0"].folder.path / "sittings.jsonl").read_text()
    assert "SIGUSR1" in sittings
    for name in ("First-s0", "Last-s1", "Wide-s0"):  # lost, stopped, undisturbed
        alone = Run.of(runs[name].config, workplace / "inline", name)
        alone.create()
        launcher = registry.launchers.get("inline").build()
        assert [state for _, state in launcher.launch([alone])] == ["finished"]
        expected, found = weights(alone), weights(runs[name])
        assert all(torch.equal(value, found[key]) for key, value in expected.items())
        assert alone.folder.result.scores == runs[name].folder.result.scores
        assert alone.folder.result.gain == runs[name].folder.result.gain


HELD = LAUNCHER | {"additional": {"hold": True}}


def test_jobs_that_never_began(cluster, suite, workplace, monkeypatch):
    """Held in the queue, cancelled, submitted again; nothing is executed."""
    root = workplace / "out"
    runs = suite.runs(root)
    assert run_suite(suite, root, HELD) == 0
    assert {run.folder.state for run in runs} == {"queued"}
    jobs = {run.folder.status["job"] for run in runs}
    assert jobs <= (jobs_in_queue() or set())
    cluster.ask("scancel", *jobs)
    wait_until(lambda: not jobs & (jobs_in_queue() or set()), "they leave the queue")
    assert run_suite(suite, root, HELD) == 0
    again = {run.folder.status["job"] for run in runs}
    assert not again & jobs, "they were submitted again"

    assert set(cancel_all([run.folder for run in runs])) == {
        f"job {job} cancelled" for job in again
    }
    assert {run.folder.reason for run in runs} == {"cancelled before it began"}

    def cancel_then_poll(_: float) -> None:
        cluster.ask("scancel", "--user=root")

    monkeypatch.setattr(slurm_launcher.time, "sleep", cancel_then_poll)
    assert run_suite(suite, root, HELD | {"wait": True}) == len(runs)
    assert "ended before the run began" in runs[0].folder.reason


def test_a_suite_that_waits_for_jobs_can_be_left(cluster, suite, workplace, monkeypatch):
    monkeypatch.setattr(slurm_launcher.time, "sleep", lambda _: signal.raise_signal(signal.SIGINT))
    with pytest.raises(InterruptedRunError, match="0 of 12 runs are complete; the jobs go on") as e:
        run_suite(suite, workplace / "out", HELD | {"wait": True})
    assert e.value.exit_code == 130
    cluster.ask("scancel", "--user=root")


def test_what_slurm_refuses_is_one_line(cluster, suite, workplace):
    with pytest.raises(SsmbenchError, match=r"slurm: sbatch: error: .*Invalid partition"):
        run_suite(suite, workplace / "out", LAUNCHER | {"partition": "nowhere"})


# --- without Slurm ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("1:30", 90), ("1-12", 2160), ("1-12:30", 2190), ("0", None), ("soon", None)],
)
def test_time_limits(text, expected):
    assert minutes(text) == expected


def run_with(**trainer) -> Run:
    return Run({"trainer": trainer}, RunFolder(Path("runs") / "any"), "any")


def test_the_shape_of_a_job_follows_from_the_trainer():
    assert shape_of(run_with(devices=1), Config()) == Shape(1, 1)
    assert shape_of(run_with(), Config()) == Shape(1, 1)
    assert shape_of(run_with(devices="auto"), Config(gpus_per_node=4)) == Shape(1, 4)
    assert shape_of(run_with(devices=2, num_nodes=3), Config()) == Shape(3, 2)
    with pytest.raises(UsageError, match="devices=8, but the launcher's gpus_per_node is 4"):
        shape_of(run_with(devices=8), Config(gpus_per_node=4))
    with pytest.raises(UsageError, match="give the number per node"):
        shape_of(run_with(devices=[0, 1]), Config())


def test_a_job_asks_for_what_its_runs_need():
    config = Config(gpus_per_node=4, time="2:00", srun_args=["--mpi=none"], setup=["module load x"])
    packed, ranks = (parameters(config, shape, 3) for shape in (Shape(1, 1), Shape(2, 2)))
    assert (packed["gpus_per_node"], ranks["gpus_per_node"]) == (4, 2)
    assert (ranks["nodes"], ranks["ntasks_per_node"], ranks["time"]) == (2, 2, 120)
    assert packed["srun_args"][0] == "--kill-on-bad-exit=1"
    assert packed["additional_parameters"] == {"requeue": True}
    assert "partition" not in packed


@pytest.fixture
def asked(monkeypatch):
    """What the launcher submits where squeue gives the answers of a list; nothing is executed."""
    submitted: list[Run] = []
    monkeypatch.setattr(slurm_launcher.Slurm, "why_unavailable", lambda _: "")
    monkeypatch.setattr(slurm_launcher, "queue", lambda runs, *_: submitted.extend(runs))
    monkeypatch.setattr(slurm_launcher.time, "sleep", lambda _: None)

    def launch(runs: list[Run], *answers: set[str] | None) -> tuple[list, list[Run]]:
        given = iter(answers)
        monkeypatch.setattr(slurm_launcher, "jobs_in_queue", lambda: next(given))
        launcher = slurm_launcher.Slurm(Config(wait=False))
        return list(launcher.launch(runs)), submitted

    return launch


@pytest.fixture
def planned(suite, workplace) -> list[Run]:
    runs = suite.runs(workplace / "out")[:2]
    for run in runs:
        run.create()
    return runs


def test_a_run_that_became_complete_is_not_submitted_again(planned, asked):
    done, due = planned
    complete(done.folder)
    assert asked(planned, None, set()) == ([(done, "finished"), (due, "queued")], [due])


def test_without_the_queue_nothing_is_submitted(planned, asked):
    with pytest.raises(SsmbenchError, match="squeue does not answer; nothing was submitted"):
        asked(planned, None, None, None)
    assert asked([])[1] == []


def test_without_slurm_that_is_said_before_anything_is_written(suite, workplace, monkeypatch):
    monkeypatch.setenv("PATH", str(workplace))
    with pytest.raises(UsageError, match="there is no sbatch on this machine"):
        run_suite(suite, workplace / "out", "slurm")


def test_the_tail_of_a_log_says_why_a_job_ended(workplace):
    (workplace / "7_0_0_log.err").write_text("\nslurmstepd: error: DUE TO TIME LIMIT ***\n\n")
    assert tail_of_log(workplace, "7_0") == "slurmstepd: error: DUE TO TIME LIMIT ***"
    assert tail_of_log(workplace, "7_1") == ""
