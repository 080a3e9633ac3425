"""Where a result is from, and what it took: host, commits, time, memory and energy."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from ssmbench.config import fingerprint, resolve
from ssmbench.results import Provenance, Result, Sitting
from ssmbench.runs import claim, commits, consumption
from ssmbench.runs import execute as execution
from ssmbench.runs.consumption import EnergyMeter
from ssmbench.runs.execute import execute
from ssmbench.runs.folder import RunFolder
from ssmbench.runs.run import Run
from ssmbench.runs.sittings import OpenSitting, read_sittings
from tests.conftest import TINY
from tests.runs.test_claim import process, set_back


@pytest.fixture
def run(workplace):
    return Run.of(resolve(copy.deepcopy(TINY)), workplace / "out")


def git(*arguments) -> str:
    about = ["-c", "user.name=n", "-c", "user.email=e", "-c", "init.defaultBranch=main"]
    command = ["git", *about, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


# --- of a run -----------------------------------------------------------------------------------


def test_a_result_says_where_it_is_from_and_what_it_took(run, write, ssmbench, monkeypatch):
    """The run fails, is out of time, and then completes."""
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    write("tracked.py", "")
    git("init")
    git("add", "tracked.py")
    git("commit", "-m", "first")
    write("tracked.py", "changed")
    commits.commit_of.cache_clear()
    real = execution.train
    monkeypatch.setattr(execution, "train", lambda *_: 1 / 0)
    assert execute(run) == "failed"
    monkeypatch.setattr(execution, "train", lambda *a: replace(real(*a), out_of_time=True, steps=1))
    monkeypatch.setattr(execution, "_why_out_of_time", lambda *_: "")
    assert execute(run) == "out_of_time"
    monkeypatch.setattr(execution, "train", real)
    write("run.yaml", TINY)
    answer = ssmbench("run", "run.yaml", "-o", "out")
    assert answer.code == 0
    result = run.folder.read_result()
    about = result.provenance
    head = git("rev-parse", "HEAD")
    assert about.commit == f"{head}-dirty"
    assert (about.job, about.ended, about.host) == ("12", "finished", os.uname().nodename)
    assert about.peak_memory > 2**26, "Python with torch"
    assert [sitting.why for sitting in about.sittings] == [
        "failed: ZeroDivisionError: division by zero (full traceback: out/"
        f"{run.fingerprint}/error.txt)",
        "out_of_time",
        "finished",
    ]
    assert [sitting.steps for sitting in about.sittings] == [None, 1, 1]
    assert {sitting.pid for sitting in about.sittings} == {os.getpid()}
    assert result.seconds == pytest.approx(sum(s.ended - s.started for s in about.sittings), 0.02)
    assert read_sittings(run.folder.path)[:2] == list(about.sittings)[:2]
    assert read_sittings(run.folder.path)[2].ended >= about.sittings[2].ended
    shown = [" ".join(line.split()) for line in answer.out.splitlines()]
    assert f"commit {about.commit}" in shown
    assert f"host {about.host}, job 12" in shown
    (time,) = [line for line in shown if line.startswith("time ")]
    assert time.endswith(" s in 3 sittings")
    assert any(line.startswith("peak memory ") for line in shown)
    assert fingerprint(run.config) == run.fingerprint, "nothing of it is a part of that"


_SITTING = """
from ssmbench.runs.consumption import EnergyMeter
from ssmbench.runs.sittings import OpenSitting
with folder.lock() as held:
    OpenSitting(held, EnergyMeter())
    held.append("metrics.jsonl", {"step": 41, "train/loss": 1})
    print("ready", flush=True)
    sys.stdin.readline()
"""


def test_a_killed_sitting_ended_with_its_last_heartbeat(tmp_path):
    folder = RunFolder(tmp_path)
    with process(_SITTING, tmp_path) as child:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        (cut,) = read_sittings(tmp_path)
        assert (cut.ended, cut.why, cut.pid) == (None, "", child.pid)
        set_back(folder, 1, age=-100)
        with (tmp_path / "sittings.jsonl").open("a") as file:
            file.write('{"started": 17')  # as another one left it
        with folder.lock() as held:
            sitting = OpenSitting(held, EnergyMeter())
            about = sitting.provenance("finished", 50)
            sitting.end("interrupted: by hand")
    first, second = about.sittings
    assert (first.why, first.steps) == ("its process ended", None)
    assert 90 < first.seconds < 1000
    assert (second.why, second.steps) == ("finished", 50)
    assert about.energy is None
    kept = read_sittings(tmp_path)
    assert [(s.why, s.steps) for s in kept] == [
        ("its process ended", None),
        ("interrupted: by hand", 41),
    ]


@pytest.mark.parametrize(
    "content", [b"{", b"\xff\x00" * 99, b"[1]\n", b'{"started": "x"}\n', b'{"started": 1}\n']
)
def test_damaged_lines_of_earlier_sittings_are_left_out(tmp_path, content):
    (tmp_path / "sittings.jsonl").write_bytes(content)
    assert read_sittings(tmp_path) == []
    with RunFolder(tmp_path).lock() as held:
        about = OpenSitting(held, EnergyMeter()).provenance("finished", 1)
    assert len(about.sittings) == 1
    assert len(read_sittings(tmp_path)) == 1


def test_a_sitting_is_not_written_after_the_run_was_taken_over(tmp_path, monkeypatch):
    with RunFolder(tmp_path).lock() as held:
        sitting = OpenSitting(held, EnergyMeter())
        before = (tmp_path / "sittings.jsonl").read_text()
        (tmp_path / "claim-1.json").rename(tmp_path / "claim-2.json")
        monkeypatch.setattr(claim, "LEASE", 0)
        sitting.end("failed: late")
        assert (tmp_path / "sittings.jsonl").read_text() == before


# --- commits ------------------------------------------------------------------------------------


def test_a_folder_without_a_repository_has_no_commit(tmp_path, monkeypatch):
    assert commits.commit_of(tmp_path) is None
    monkeypatch.setenv("PATH", "")
    commits.commit_of.cache_clear()
    assert commits.commit_of(tmp_path) is None


def test_an_installed_ssmbench_has_no_commit_of_the_repository_around_it(tmp_path, monkeypatch):
    (tmp_path / "lib").mkdir()
    monkeypatch.chdir(tmp_path)
    git("init")
    monkeypatch.setattr(commits, "_ROOT", tmp_path / "lib")
    assert commits.commit_of_ssmbench() is None


# --- memory -------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is that of the process")
def test_the_peak_of_memory_is_that_of_the_sitting():
    """In a process of its own: another test's peak, and what it left behind, do not matter."""
    code = """
from ssmbench.runs import consumption
before = consumption.peak_memory()
large = bytearray(2**28)
assert consumption.peak_memory() > before + 2**27
del large
consumption.restart_peak_memory()
assert consumption.peak_memory() < before + 2**27
large = bytearray(2**28)
assert consumption.peak_memory() > before + 2**27
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# --- energy -------------------------------------------------------------------------------------


def rapl(folder, name: str, microjoules: int, wraps: int = 999):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{wraps}\n")


def test_the_energy_of_cpu_packages_over_the_start_of_a_counter(tmp_path):
    one, two = tmp_path / "intel-rapl:0", tmp_path / "intel-rapl:1"
    rapl(one, "package-0", 100)
    rapl(two, "package-1", 900)
    rapl(tmp_path / "intel-rapl:0:0", "core", 50)
    rapl(tmp_path / "intel-rapl:2", "psys", 50)
    meter = EnergyMeter(tmp_path)
    rapl(one, "package-0", 600)
    rapl(two, "package-1", 100)  # 200 on: it began again at 1000
    meter.sample()
    rapl(one, "package-0", 50)  # 450 on
    assert meter.joules() == (pytest.approx((500 + 200 + 450) * 1e-6, abs=1e-3), "CPU (RAPL)")
    (two / "energy_uj").unlink()
    assert meter.joules()[1] == "CPU (RAPL)"


def test_energy_that_no_device_tells_is_not_measured(tmp_path):
    assert EnergyMeter(tmp_path).joules() == (None, "")


class FakeNvml:
    """Two GPUs, of which this process uses the second."""

    millijoules = (0, 7_000)

    def nvmlInit(self):
        pass

    def nvmlDeviceGetCount(self):
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetUUID(self, index):
        return (b"GPU-a", "GPU-b")[index]

    def nvmlDeviceGetTotalEnergyConsumption(self, index):
        return self.millijoules[index]


@pytest.fixture
def gpu(monkeypatch):
    nvml = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    fake = {
        "is_initialized": lambda: True,
        "current_device": lambda: 0,
        "get_device_properties": lambda _: SimpleNamespace(uuid="b"),
        "get_device_name": lambda: "NVIDIA X",
        "max_memory_allocated": lambda: 5,
        "reset_peak_memory_stats": lambda: None,
    }
    for name, function in fake.items():
        monkeypatch.setattr(torch.cuda, name, function)
    return nvml


def test_the_energy_and_memory_of_the_gpu_in_use(tmp_path, gpu):
    meter = EnergyMeter(tmp_path)
    gpu.millijoules = (50_000, 9_500)
    assert meter.joules() == (2.5, "NVIDIA X (NVML)")
    assert consumption.peak_gpu_memory() == 5


def test_a_gpu_that_does_not_tell_its_energy_is_not_measured(tmp_path, gpu, monkeypatch):
    monkeypatch.setattr(FakeNvml, "nvmlDeviceGetTotalEnergyConsumption", lambda *_: 1 / 0)
    assert EnergyMeter(tmp_path).joules() == (None, "")


# --- several sittings ---------------------------------------------------------------------------

ONE = Sitting(0.0, "n1", 1, 10.0, why="its process ended", peak_memory=9, energy=1.0, energy_of="c")
TWO = Sitting(20.0, "n2", 2, 25.5, "7", "finished", 3, "abc", None, 5, 6, 2.0, "c")


def test_the_whole_is_made_of_its_sittings():
    about = Provenance.of([ONE, TWO])
    assert (about.host, about.job, about.ended, about.commit) == ("n2", "7", "finished", "abc")
    assert (about.peak_memory, about.peak_gpu_memory) == (9, 6)
    assert (about.energy, about.energy_of, about.seconds) == (3.0, "c", 15.5)


@pytest.mark.parametrize("change", [{"energy": None, "energy_of": ""}, {"energy_of": "CPU, GPU"}])
def test_energy_that_was_measured_in_part_is_not_given(change):
    about = Provenance.of([replace(ONE, **change), TWO])
    assert (about.energy, about.energy_of) == (None, "")


def test_an_earlier_result_has_no_provenance():
    from tests.runs.results import FINISHED

    data = FINISHED.to_dict()
    del data["provenance"]
    assert Result.from_dict(data).provenance is None
