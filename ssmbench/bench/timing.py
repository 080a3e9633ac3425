"""Timing of several candidates in turns, so that the load of the machine affects all alike."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

#: A candidate slower than this is timed once, whatever the number of rounds.
SLOW_SECONDS = 3.0
#: On the CPU, allocations are recorded only for candidates faster than this.
_SLOW_TO_RECORD = 1.0
#: Kineto, the library behind PyTorch's profiler, writes a line to standard error at every start and
#: stop, with the highest of its levels (5). It reads its level from the environment at first use.
_NO_KINETO_MESSAGES = "6"


@dataclass(frozen=True)
class Candidate:
    """One implementation: ``run`` computes an output from ``leaves``, the tensors with gradients.

    ``comparable``: whether the output is that of the case, so that its error can be measured.
    """

    run: Callable[[], Tensor]
    leaves: Mapping[str, Tensor]
    comparable: bool = True


@dataclass(frozen=True)
class Times:
    """Seconds for each round; bytes kept for the backward pass; peak bytes allocated in both
    passes, if recorded."""

    forward: tuple[float, ...]
    both: tuple[float, ...]
    kept_bytes: int
    peak_bytes: int | None

    @property
    def medians(self) -> tuple[float, float]:
        return statistics.median(self.forward), statistics.median(self.both)


def time_in_turns(
    candidates: Mapping[str, Candidate], rounds: int, device: torch.device
) -> dict[str, Times]:
    """The times of each candidate, by name, after one warm-up each."""
    peaks = {name: _warm_up(c, device) for name, c in candidates.items()}
    kept = {name: kept_bytes(c.run) for name, c in candidates.items()}
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            forward, both = times[name]
            if both and both[0] > SLOW_SECONDS:
                continue
            forward.append(_timed(lambda c=candidate: _forward(c), device))
            both.append(_timed(lambda c=candidate: _forward_and_backward(c), device))
    return {n: Times(tuple(f), tuple(b), kept[n], peaks[n]) for n, (f, b) in times.items()}


def copy_bandwidth(total_bytes: int, rounds: int, device: torch.device) -> float:
    """Bytes per second, read and written, of a memory copy that moves about ``total_bytes``."""
    source = torch.ones(max(total_bytes // 8, 1024), device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    seconds = [_timed(lambda: target.copy_(source), device) for _ in range(rounds)]
    return 8 * source.numel() / statistics.median(seconds)


def device_name(device: torch.device) -> str:
    """The model of the GPU, or that of the CPU with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return f"{model}, {torch.get_num_threads()} thread(s)"


def _forward(candidate: Candidate) -> None:
    with torch.no_grad():
        candidate.run()


def _forward_and_backward(candidate: Candidate) -> tuple[Tensor | None, ...]:
    y = candidate.run()
    return torch.autograd.grad(
        y.real.sum() if y.is_complex() else y.sum(),
        list(candidate.leaves.values()),
        allow_unused=True,
    )


def _timed(action: Callable[[], object], device: torch.device) -> float:
    _synchronise(device)
    start = time.perf_counter()
    action()
    _synchronise(device)
    return time.perf_counter() - start


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _warm_up(candidate: Candidate, device: torch.device) -> int | None:
    if device.type == "cuda":
        _forward_and_backward(candidate)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        _forward_and_backward(candidate)
        return torch.cuda.max_memory_allocated(device) - before
    # A loop over steps makes so many allocations that their record would fill the memory.
    if _timed(lambda: _forward_and_backward(candidate), device) > _SLOW_TO_RECORD:
        return None
    return peak_on_cpu(lambda: _forward_and_backward(candidate))


def kept_bytes(run: Callable[[], Tensor]) -> int:
    """Bytes of the tensors that ``run`` keeps for its backward pass, each storage counted once."""
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = run()
    del result  # until here: a storage that was freed could give its address to another
    return sum(storages.values())


def peak_on_cpu(action: Callable[[], object]) -> int:
    """Largest number of bytes allocated at once, from the profiler's record of (de)allocations.

    Resident memory would miss allocations from pages that the process already has.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", _NO_KINETO_MESSAGES)
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=cpu, profile_memory=True) as profile:
        action()
    # Torch's record of single (de)allocations has no public name and is missing from its stubs.
    profiler: Any = profile.profiler
    events = (e for e in profiler.kineto_results.events() if e.name() == "[memory]")
    changes = sorted((e.start_ns(), e.nbytes()) for e in events)
    return max(accumulate((size for _, size in changes), initial=0))
