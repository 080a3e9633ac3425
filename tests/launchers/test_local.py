"""Runs in processes of their own: what one of them does to itself, and signals to all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from pathlib import Path

import pytest

from ssmbench import jsonio, registry
from ssmbench.errors import UsageError
from ssmbench.launchers.local import Local
from ssmbench.launchers.process import LOG
from ssmbench.launchers.slots import Config, Slot, _listed_gpus, physical_cores, slots, visible_gpus
from ssmbench.runs.folder import RunFolder
from ssmbench.suite.grid import load_suite
from tests.slurm_cluster import wait_until

PLUGIN = '''
import ctypes
import os
import signal
import time
from pathlib import Path

from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.registry import nonlinearities


class Marks(Nonlinearity):
    """Leaves a line in a file when it is first called, and then waits for another file."""

    lipschitz = 1.0
    name = ""
    fresh = True

    def forward(self, x):
        if self.training and self.fresh:
            type(self).fresh = False
            with open(f"{self.name}.begun", "a") as file:
                file.write(f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES')}\\n")
            self.act()
        return x

    def act(self):
        while not Path(f"{self.name}.go").exists():
            time.sleep(0.02)


@nonlinearities.register("waits")
class Waits(Marks):
    """Ends when it may."""

    name = "waits"


@nonlinearities.register("waits_too")
class WaitsToo(Marks):
    """Another one."""

    name = "waits_too"


@nonlinearities.register("hangs")
class Hangs(Marks):
    """Cannot be ended by an exception."""

    name = "hangs"

    def act(self):
        while True:
            try:
                time.sleep(0.02)
            except BaseException:
                pass


@nonlinearities.register("killed")
class Killed(Marks):
    """As by the kernel when memory runs out."""

    name = "killed"

    def act(self):
        os.kill(os.getpid(), signal.SIGKILL)


@nonlinearities.register("segfaults")
class Segfaults(Marks):
    """As by a fault in compiled code."""

    name = "segfaults"

    def act(self):
        ctypes.string_at(0)


@nonlinearities.register("leaves")
class Leaves(Marks):
    """Looks like success."""

    name = "leaves"

    def act(self):
        os._exit(0)
'''


@pytest.fixture
def suite(write, tiny_suite, monkeypatch):
    """Write a suite in which each variant has a nonlinearity of the plugin; one line of keys."""
    write("marks.py", PLUGIN)
    monkeypatch.setenv(registry.PLUGINS_VARIABLE, "marks.py")

    def write_suite(names: str, launcher: str | dict = "local", **trainer) -> Path:
        tiny_suite["base"]["model"] |= {"parametrization": "l2ru"}
        tiny_suite["base"]["trainer"] |= trainer
        variants = {
            name: {"model": {"nonlinearity": "gelu" if name == "plain" else name}}
            for name in names.split()
        }
        return write("suite.yaml", tiny_suite | {"variants": variants, "launcher": launcher})

    return write_suite


def folder_of(place: Path, variant: str) -> RunFolder:
    """The folder of a variant's run in ``out``."""
    cells = jsonio.loads((place / "out" / "suite.json").read_text())["cells"]
    (mark,) = (cell["fingerprint"] for cell in cells if cell["variant"] == variant)
    return RunFolder(place / "out" / "runs" / mark)


def begun(place: Path, name: str) -> list[list[str]]:
    """What a variant left behind at each of its starts: process and GPUs."""
    file = place / f"{name}.begun"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def pid_of(place: Path, name: str) -> int:
    return int(begun(place, name)[-1][0])


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@contextmanager
def running(place: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """``ssmbench suite`` in a process of its own; its stderr goes to a file."""
    command = [sys.executable, "-m", "ssmbench", "suite", "suite.yaml", "--output", "out"]
    with (place / "said").open("w") as said:
        process = subprocess.Popen(
            [*command, *arguments], cwd=place, stdout=subprocess.DEVNULL, stderr=said, text=True
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


# --- what a run does to itself ------------------------------------------------------------------


def test_a_run_that_ends_its_process_fails_alone_and_once(suite, workplace):
    runs = load_suite(suite("killed segfaults leaves plain")).runs(workplace / "out")
    ended = {run.label: (state, run) for run, state in Local().launch(runs, 2)}
    reasons = {label: run.folder.reason for label, (_, run) in ended.items()}
    assert {label: state for label, (state, _) in ended.items()} == {
        "digits/killed-s0": "failed",
        "digits/segfaults-s0": "failed",
        "digits/leaves-s0": "failed",
        "digits/plain-s0": "finished",
    }
    assert "ended by SIGKILL (memory ran out, or kill -9)" in reasons["digits/killed-s0"]
    assert "ended by SIGSEGV" in reasons["digits/segfaults-s0"]
    assert "exit code 0 and recorded nothing" in reasons["digits/leaves-s0"]
    for name in ("killed", "segfaults", "leaves"):
        assert len(begun(workplace, name)) == 1, "nothing is executed again"
    log = (ended["digits/segfaults-s0"][1].folder.path / LOG).read_text()
    assert "Fatal Python error: Segmentation fault" in log
    assert "marks.py" in log
    server = forkserver._forkserver._forkserver_pid
    assert len(os.listdir(f"/proc/{server}/task")) == 1, "no thread that a fork could catch"


def test_each_run_sees_the_gpu_of_its_slot(suite, workplace, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    file = suite("killed segfaults leaves", accelerator="auto")  # the first step is enough
    runs = load_suite(file).runs(workplace / "out")
    list(Local(Config(runs_per_gpu=1)).launch(runs))
    shown = [begun(workplace, name)[0][1] for name in ("killed", "segfaults", "leaves")]
    assert set(shown) == {"4", "7"}
    assert shown[:2] == ["4", "7"]


@pytest.mark.slow
def test_a_distributed_run_whose_process_is_killed_has_failed(suite, workplace):
    runs = load_suite(suite("killed", devices=2, strategy="ddp")).runs(workplace / "out")
    assert [state for _, state in Local().launch(runs)] == ["failed"]
    assert "SIG" in runs[0].folder.reason or "exit code" in runs[0].folder.reason
    pids = [int(pid) for pid, _ in begun(workplace, "killed")]
    wait_until(lambda: not any(map(is_alive, pids)), "its ranks end with it")


def test_a_run_for_several_machines_is_refused(suite, workplace):
    runs = load_suite(suite("plain", num_nodes=2)).runs(workplace / "out")
    for name in ("local", "inline"):
        launch = registry.launchers.get(name).build().launch(runs)
        with pytest.raises(UsageError, match=r"num_nodes=2: .* one machine only"):
            next(launch)


# --- signals ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_signals_to_a_worker_and_to_the_suite(suite, workplace):
    suite("waits waits_too hangs plain", {"name": "local", "jobs": 3, "grace": 1.0})
    said = workplace / "said"
    with running(workplace) as process:
        for name in ("waits", "waits_too", "hangs"):
            wait_until(lambda name=name: begun(workplace, name), said.read_text())
        os.kill(pid_of(workplace, "waits_too"), signal.SIGTERM)
        (workplace / "waits_too.go").touch()
        wait_until(lambda: "waits_too-s0: interrupted" in said.read_text(), "one ends")
        wait_until(lambda: "plain-s0: accuracy" in said.read_text(), "the others go on")
        process.send_signal(signal.SIGINT)
        (workplace / "waits.go").touch()
        assert process.wait(120) == 130
    assert "SIGTERM" in folder_of(workplace, "waits_too").reason
    assert "SIGINT" in folder_of(workplace, "waits").reason
    assert folder_of(workplace, "hangs").state == "interrupted"
    assert folder_of(workplace, "plain").state == "finished"
    last = said.read_text().splitlines()[-1]
    assert "interrupted: 1 of 4 runs are complete; the same command goes on" in last
    assert "Traceback" not in said.read_text()
    assert not any(is_alive(pid_of(workplace, name)) for name in ("waits", "hangs"))

    with running(workplace) as process:  # the same command goes on; then its process is killed
        wait_until(lambda: len(begun(workplace, "hangs")) == 2, said.read_text())
        wait_until(lambda: folder_of(workplace, "waits_too").is_complete, "it has gone on")
        wait_until(lambda: folder_of(workplace, "waits").is_complete, "it has gone on")
        process.kill()
        hanging = pid_of(workplace, "hangs")
        wait_until(lambda: not is_alive(hanging), "it ends when its launcher is gone")
    assert folder_of(workplace, "hangs").state == "interrupted"
    assert "its launcher ended" in folder_of(workplace, "hangs").reason
    for name in ("waits", "waits_too"):
        rows = (folder_of(workplace, name).path / "metrics.jsonl").read_text().splitlines()
        steps = [row["step"] for row in map(jsonio.loads, rows) if "train/loss" in row]
        assert steps == [0], "each step once"


# --- how many runs fit --------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch) -> Callable[[int], None]:
    """Pretend to have some cores."""

    def pretend(cores: int) -> None:
        monkeypatch.setattr("ssmbench.launchers.slots.available_cores", lambda: cores)
        monkeypatch.setattr("ssmbench.launchers.slots.physical_cores", lambda: cores)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setattr("ssmbench.launchers.slots.available_memory", lambda: 10.0)

    return pretend


@pytest.mark.parametrize(
    ("config", "jobs", "runs", "expected"),
    [
        (Config(), None, 100, [Slot(2)] * 8),
        (Config(), None, 3, [Slot(5)] * 3),
        (Config(), 2, 100, [Slot(8)] * 2),
        (Config(jobs=4), None, 100, [Slot(4)] * 4),
        (Config(cores_per_run=1), None, 100, [Slot(1)] * 16),
        (Config(cores_per_run=6), None, 100, [Slot(6)] * 2),
        (Config(cores_per_run=1), 3, 100, [Slot(1)] * 3),
        (Config(memory_per_run=3.0), None, 100, [Slot(5)] * 3),
    ],
)
def test_slots_by_cores_and_memory(machine, config, jobs, runs, expected):
    machine(16)
    assert slots(config, runs, jobs, gpus=[]) == expected


@pytest.mark.parametrize(
    ("asked", "jobs", "threads"),
    [("1", 1, 1), ("4,2", 1, 4), ("4", 8, 2), ("0", 1, 16), ("many", 1, 16), ("", 4, 4)],
)
def test_a_run_gets_no_more_threads_than_the_user_asks_for(
    machine, monkeypatch, asked, jobs, threads
):
    machine(16)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert slots(Config(), 100, jobs, gpus=[]) == [Slot(threads)] * jobs
    assert slots(Config(cores_per_run=8), 1, gpus=[]) == [Slot(8)]


def test_two_threads_of_one_core_count_once(machine, monkeypatch, tmp_path):
    machine(16)
    monkeypatch.setattr("ssmbench.launchers.slots.physical_cores", lambda: 8)
    assert slots(Config(), 100, 1, gpus=[]) == [Slot(8)]
    assert len(slots(Config(), 100, gpus=[])) == 8
    monkeypatch.setattr("ssmbench.launchers.slots._places", lambda: {0, 1, 2, 3})
    assert physical_cores(tmp_path) == 4  # the system does not say
    for place in range(4):
        (tmp_path / f"cpu{place}/topology").mkdir(parents=True)
        (tmp_path / f"cpu{place}/topology/thread_siblings_list").write_text(f"{place % 2}\n")
    assert physical_cores(tmp_path) == 2


def test_slots_by_gpus(machine):
    machine(16)
    shared = slots(Config(runs_per_gpu=2), 100, gpus=["0", "1"])
    assert [slot.gpus for slot in shared] == ["0", "1", "0", "1"]
    own = slots(Config(gpus_per_run=2), 100, gpus=["0", "1", "2", "3", "4"])
    assert [slot.gpus for slot in own] == ["0,1", "2,3"]
    spread = slots(Config(jobs=3), 100, gpus=["0", "1"])
    assert [slot.gpus for slot in spread] == ["0", "1", "0"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(cores_per_run=32), "cores_per_run=32, but there are 16 cores"),
        (Config(memory_per_run=11.0), r"memory_per_run=11, but there are 10\.0 GiB of memory"),
        (Config(gpus_per_run=2), "gpus_per_run=2, but there are 1 GPUs"),
        (Config(gpus_per_run=1, runs_per_gpu=1), "exclude each other"),
    ],
)
def test_a_run_that_does_not_fit_is_refused(machine, config, message):
    machine(16)
    with pytest.raises(UsageError, match=message):
        slots(config, 1, gpus=["0"])
    with pytest.raises(UsageError, match="runs_per_gpu=2, but there is no GPU"):
        slots(Config(runs_per_gpu=2), 1, gpus=[])


def test_gpus_are_found_without_torch(monkeypatch):
    for given, found in {"": [], "-1": [], "0, 2": ["0", "2"], "GPU-ab": ["GPU-ab"]}.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        assert visible_gpus() == found
    listing = """
GPU 0: NVIDIA H200 (UUID: GPU-aa-1)
GPU 1: NVIDIA H200 (UUID: GPU-bb-2)
  MIG 1g.18gb     Device  0: (UUID: MIG-cc-3)
  MIG 1g.18gb     Device  1: (UUID: MIG-dd-4)
"""
    assert _listed_gpus(listing) == ["GPU-aa-1", "MIG-cc-3", "MIG-dd-4"]
