"""Timing of several contestants in turns, so that all meet the same load of the machine."""

from __future__ import annotations

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

#: A contestant slower than this runs once; the others repeat.
SLOW_SECONDS = 3.0
#: On the CPU, allocations are recorded only for contestants faster than this.
_SLOW_TO_RECORD = 1.0


@dataclass(frozen=True)
class Contestant:
    """``run`` maps ``leaves`` to an output; ``comparable`` where the output is the case's own."""

    run: Callable[[], Tensor]
    leaves: Mapping[str, Tensor]
    comparable: bool = True


@dataclass(frozen=True)
class Times:
    """Seconds; peak bytes allocated beyond the inputs in forward and backward, if recorded."""

    forward: tuple[float, ...]
    both: tuple[float, ...]
    peak_bytes: int | None

    @property
    def medians(self) -> tuple[float, float]:
        return statistics.median(self.forward), statistics.median(self.both)


def race(contestants: Mapping[str, Contestant], rounds: int, device: torch.device) -> dict:
    """:class:`Times` by name, taken in turns after one warm-up each."""
    peaks = {name: _warm_up(c, device) for name, c in contestants.items()}
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            forward, both = times[name]
            if both and both[0] > SLOW_SECONDS:
                continue
            forward.append(_timed(lambda c=contestant: _forward(c), device))
            both.append(_timed(lambda c=contestant: _forward_and_backward(c), device))
    return {n: Times(tuple(f), tuple(b), peaks[n]) for n, (f, b) in times.items()}


def copy_bandwidth(total_bytes: int, rounds: int, device: torch.device) -> float:
    """Bytes per second, read and written, of a memory copy that moves about ``total_bytes``."""
    source = torch.ones(max(total_bytes // 8, 1024), device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    seconds = [_timed(lambda: target.copy_(source), device) for _ in range(rounds)]
    return 8 * source.numel() / statistics.median(seconds)


def device_name(device: torch.device) -> str:
    """What the figures were taken on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return f"{model}, {torch.get_num_threads()} thread(s)"


def _forward(contestant: Contestant) -> None:
    with torch.no_grad():
        contestant.run()


def _forward_and_backward(contestant: Contestant) -> tuple[Tensor | None, ...]:
    y = contestant.run()
    return torch.autograd.grad(
        y.real.sum() if y.is_complex() else y.sum(),
        list(contestant.leaves.values()),
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


def _warm_up(contestant: Contestant, device: torch.device) -> int | None:
    if device.type == "cuda":
        _forward_and_backward(contestant)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        _forward_and_backward(contestant)
        return torch.cuda.max_memory_allocated(device) - before
    # A loop over steps makes so many allocations that recording them would fill the memory.
    if _timed(lambda: _forward_and_backward(contestant), device) > _SLOW_TO_RECORD:
        return None
    return _peak_on_cpu(lambda: _forward_and_backward(contestant))


def _peak_on_cpu(action: Callable[[], object]) -> int:
    """Most bytes allocated at once, from the profiler's record of every (de)allocation.

    Resident memory would not do: an allocator that is warm needs no new pages.
    """
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=cpu, profile_memory=True) as profile:
        action()
    # Torch's record of single (de)allocations has no public name, and its stubs leave them out.
    profiler: Any = profile.profiler
    events = (e for e in profiler.kineto_results.events() if e.name() == "[memory]")
    changes = sorted((e.start_ns(), e.nbytes()) for e in events)
    return max(accumulate((size for _, size in changes), initial=0))
