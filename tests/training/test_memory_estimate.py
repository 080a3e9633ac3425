"""The memory of a training step, estimated before it and measured in it."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from ssmbench.build.network import build_network
from ssmbench.build.task import build_task
from ssmbench.config import merge, resolve, typed
from ssmbench.training import memory_estimate
from ssmbench.training.memory_estimate import estimated_bytes, free_bytes
from tests.training.runs import losses, train

#: The estimate is within this factor of what a step takes, in either direction.
FACTOR = 2
#: Activations of 17 MB each, many times what the process may have in reserve.
LARGE = {"task": {"name": "delay", "length": 4096, "lag": 16}, "batch_size": 16}
NETWORKS = {
    "s4d": {"parametrization": "s4d", "discretizer": "zoh"},
    "s5, gated": {"parametrization": "s5", "discretizer": "zoh", "nonlinearity": "glu"},
}


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def peak_of(step) -> int:
    """Bytes by which the resident memory of this process grows at most in a step."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else a step would take what earlier tests have given back
    before, highest, ended = resident(), [0], threading.Event()

    def watch():
        while not ended.is_set():
            highest.append(resident())
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        step()
    finally:
        ended.set()
        watcher.join()
    return max(highest) - before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("network", NETWORKS)
def test_estimate_is_within_a_factor_of_what_is_measured(network):
    over = {"model": {"d_model": 64, "n_layers": 1} | NETWORKS[network]}
    over["task"] = LARGE["task"] | {"train_sequences": 16, "test_sequences": 2}
    run = typed(resolve(merge(LARGE, over)))
    task = build_task(run)
    model = build_network(run, task.sizes)
    estimate = estimated_bytes(model, task, torch.device("cpu"))
    batch = task.split("train").batch(range(16))
    peak = peak_of(lambda: task.training_loss(model(batch.u), batch).backward())
    assert peak / FACTOR < estimate < peak * FACTOR, (estimate / 2**20, peak / 2**20)


def test_estimate_changes_nothing(tiny, tmp_path, monkeypatch):
    config = tiny(model={"dropout": 0.2, "norm": "batch"})
    train(config, tmp_path / "with")
    monkeypatch.setattr(memory_estimate, "estimated_bytes", lambda *_: None)
    train(config, tmp_path / "without")
    assert losses(tmp_path / "with") == losses(tmp_path / "without")


def test_what_will_not_fit_is_said_before_the_first_step(tiny, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(memory_estimate, "free_bytes", lambda device: 1000)
    trained = train(tiny(), tmp_path)
    error = capfd.readouterr().err
    assert "warning: training takes about " in error
    assert "of memory, and 1e+03 bytes are free (cpu); lower batch_size (4; " in error
    assert trained.scores is not None


def test_a_large_estimate_is_said_with_a_label(tiny, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(memory_estimate, "estimated_bytes", lambda *_: 3 * 2**30)
    monkeypatch.setattr(memory_estimate, "free_bytes", lambda device: 8 * 2**30)
    train(tiny(), tmp_path / "silent")
    assert capfd.readouterr().err == ""
    train(tiny(), tmp_path / "labelled", "label")
    expected = "label: training takes about 3 GiB of memory, and 8 GiB are free\n"
    assert capfd.readouterr().err.startswith(expected)


def test_no_estimate_where_the_pass_fails(tiny):
    run = typed(tiny())
    task = build_task(run)
    model = build_network(run, task.sizes)
    model.register_forward_pre_hook(lambda *_: 1 / 0)
    assert estimated_bytes(model, task, torch.device("cpu")) is None
    assert model.training


def test_free_memory(monkeypatch, tmp_path):
    assert free_bytes(torch.device("meta")) is None
    files = {
        "/proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 8 kB\n",
        "/proc/self/cgroup": "0::/job\n",
        "/sys/fs/cgroup/job/memory.max": "max\n",
        "/sys/fs/cgroup/job/memory.current": "1024\n",
    }
    monkeypatch.setattr(memory_estimate, "_text", lambda file: files.get(str(file), ""))
    assert free_bytes(torch.device("cpu")) == 8192
    files["/sys/fs/cgroup/job/memory.max"] = "4096\n"
    assert free_bytes(torch.device("cpu")) == 3072
    files.clear()
    assert free_bytes(torch.device("cpu")) is None
