"""When memory runs out, one line says where, and which setting to lower."""

from __future__ import annotations

import errno
import re
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from ssmbench.config import typed
from ssmbench.errors import OutOfMemoryError
from ssmbench.runs.execute import execute
from ssmbench.runs.run import Run
from ssmbench.training.out_of_memory import is_out_of_memory, memory_named
from tests.training.runs import train

CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 6442450944 bytes. Error code 12 (Cannot allocate memory)"
)
CUDA = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 139.72 GiB"
)


@pytest.mark.parametrize(
    "error",
    [
        CPU,
        CUDA,
        MemoryError(),
        OSError(errno.ENOMEM, "x"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_says_that_memory_ran_out(error):
    assert is_out_of_memory(error)
    wrapped = ValueError("something else")
    wrapped.__cause__ = error
    assert is_out_of_memory(wrapped)


@pytest.mark.parametrize("error", [RuntimeError("sizes of tensors"), OSError(errno.ENOSPC, "x")])
def test_what_does_not(error):
    assert not is_out_of_memory(error)


def test_what_numpy_and_torch_really_raise(tiny):
    for allocate in (lambda: torch.empty(2**46), lambda: np.zeros(2**46)):
        lines = pytest.raises(OutOfMemoryError, match=r"\((2.62e\+05 GiB|512. TiB) more were asked")
        with lines, memory_named(typed(tiny()), "a step"):
            allocate()


def failing(*_, **__):
    raise CPU


def failing_step(self, closure=None):
    closure()
    raise CPU


BATCH = "batch_size (4; with effective_batch a step keeps its sequences), model.d_model (2)"
LENGTH = "or task.length (16)"
#: What fails, what is said to be computed then, and what to lower.
PLACES = {
    "ssmbench.training.trainer.build_network": ("building the network", "model.d_model (2)"),
    "ssmbench.training.trainer.check_splits_fit": ("loading the data", "task.length (16)"),
    "ssmbench.training.module.SequenceModule._predict": (
        "the forward pass of a training step",
        f"{BATCH} {LENGTH}",
    ),
    "lightning.pytorch.LightningModule.backward": (
        "the backward pass of a training step",
        f"{BATCH} {LENGTH}",
    ),
    "torch.optim.AdamW.step": ("the optimizer's step", f"{BATCH} {LENGTH}"),
    "ssmbench.training.module.MeanMetric.update": ("the validation", f"{BATCH} {LENGTH}"),
    "ssmbench.training.monitor.gain_figures": (
        "analysing the layers during training",
        "model.d_model (2) or leave it out with analysis.every_n_epochs=0",
    ),
    "ssmbench.runs.execute.measure_task_gains": (
        "measuring the gains",
        f"analysis.attack_restarts (2), model.d_model (2) {LENGTH}",
    ),
    "ssmbench.runs.execute.robustness": (
        "measuring the robustness",
        f"{BATCH}, task.length (16) or leave it out with analysis.robustness=false",
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_run_fails_with_one_line(tiny, tmp_path, monkeypatch, place):
    doing, settings = PLACES[place]
    monkeypatch.setattr(place, failing_step if "AdamW" in place else failing)
    over = {"trainer": {"max_epochs": 1}, "analysis": {"every_n_epochs": 1}}
    run = Run.of(tiny(**over), tmp_path)
    assert execute(run) == "failed"
    file = run.folder.path / "error.txt"
    assert run.folder.reason == (
        f"out of memory in {doing} (6 GiB more were asked for); lower {settings} (full traceback: "
        f"{file})"
    )
    assert "DefaultCPUAllocator" in file.read_text()


@contextmanager
def no_more_than(extra: int) -> Iterator[None]:
    """Within: this process may have so many bytes of address space beside those that it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a limit of Linux")
def test_real_lack_of_memory(tiny, tmp_path):
    """Activations of 16 x 2^16 x 64 numbers, 268 MB each, with room for one or two."""
    config = tiny(task={"length": 2**16}, model={"d_model": 64}, batch_size=16, effective_batch=16)
    with no_more_than(400 * 2**20), pytest.raises(OutOfMemoryError) as caught:
        train(config, tmp_path)
    assert re.fullmatch(
        r"out of memory in the (forward|backward) pass of a training step \(.* more were asked "
        r"for\); lower batch_size \(16; a step keeps its 16 .*\), .* or task.length \(65536\)",
        str(caught.value),
    )
