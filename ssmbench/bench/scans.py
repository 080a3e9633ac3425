"""`ssmbench bench scans`: every operation and backend, with errors relative to complex128."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ssmbench.bench.cases import Case, cases, gpu_cases
from ssmbench.bench.timing import Candidate, Times, copy_bandwidth, device_name, time_in_turns
from ssmbench.linalg.precision import double_dtype
from ssmbench.scans.base import ranked_backends


@dataclass(frozen=True)
class Result:
    """A row of the table.

    ``both``: forward and backward. GB/s and the share of a memory copy's speed count
    ``forward_bytes``. ``errors``: see :func:`_errors`; None if the output is not comparable.
    ``kept_bytes`` and ``peak_bytes`` are for each step, sequence and channel: those kept for the
    backward pass, and the most allocated at once in both passes, gradients among them.
    """

    operation: str
    backend: str
    batch: int
    length: int
    channels: int
    states: int
    dtype: str
    forward_ms: float
    forward_min_ms: float
    both_ms: float
    both_min_ms: float
    forward_bytes: int
    forward_gb_s: float
    percent_of_copy: float
    errors: dict[str, float] | None
    kept_bytes: float
    peak_bytes: float | None
    device: str


def run(device: torch.device, rounds: int, quick: bool, *, apart: bool = False) -> Iterator[Result]:
    """The results of all cases, in order.

    ``apart``: on a CPU, each case is measured in a process of its own, forked from this one, on a
    heap that the cases before it have not fragmented: a peer's loop over time took all memory of a
    machine there. A case whose process is killed is missing, with a line on stderr.
    """
    ranked_backends()  # plugins are loaded once, before processes part
    for place, case in enumerate(_cases(device, quick)):
        if apart and device.type == "cpu":
            with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as process:
                yield from _results_of(
                    case, process.submit(_of_place, place, device, rounds, quick)
                )
        else:
            yield from _measured(case, device, rounds)


def _cases(device: torch.device, quick: bool) -> list[Case]:
    return [*cases(quick), *(gpu_cases() if device.type == "cuda" and not quick else ())]


def _of_place(place: int, device: torch.device, rounds: int, quick: bool) -> list[Result]:
    """Of the case at that place, which no pickle holds."""
    return list(_measured(_cases(device, quick)[place], device, rounds))


def _results_of(case: Case, found: Future[list[Result]]) -> list[Result]:
    try:
        return found.result()
    except BrokenProcessPool:
        size = f"{case.batch}, {case.length}, {case.channels}, {case.states}"
        reason = "its process was killed, as where memory runs out"
        print(f"warning: {case.operation} ({size}): {reason}", file=sys.stderr, flush=True)
        return []


def _measured(case: Case, device: torch.device, rounds: int) -> Iterator[Result]:
    torch.manual_seed(0)
    candidates = dict(case.candidates(device))
    times = time_in_turns(candidates, rounds, device)
    copy = copy_bandwidth(case.forward_bytes, rounds, device)
    for name, candidate in candidates.items():
        errors = _errors(candidate, case) if candidate.comparable else None
        yield _result(case, name, candidate, times[name], copy, errors, device)


def _result(
    case: Case,
    name: str,
    candidate: Candidate,
    times: Times,
    copy: float,
    errors: dict[str, float] | None,
    device: torch.device,
) -> Result:
    forward, both = times.medians
    speed = case.forward_bytes / forward
    numbers = case.batch * case.length * case.channels
    return Result(
        operation=case.operation,
        backend=name,
        batch=case.batch,
        length=case.length,
        channels=case.channels,
        states=case.states,
        dtype=_dtypes(candidate),
        forward_ms=1e3 * forward,
        forward_min_ms=1e3 * min(times.forward),
        both_ms=1e3 * both,
        both_min_ms=1e3 * min(times.both),
        forward_bytes=case.forward_bytes,
        forward_gb_s=speed / 1e9,
        percent_of_copy=100 * speed / copy,
        errors=errors,
        kept_bytes=times.kept_bytes / numbers,
        peak_bytes=None if times.peak_bytes is None else times.peak_bytes / numbers,
        device=device_name(device),
    )


def _dtypes(candidate: Candidate) -> str:
    names = (str(leaf.dtype).removeprefix("torch.") for leaf in candidate.leaves.values())
    return ", ".join(dict.fromkeys(names))


def _errors(candidate: Candidate, case: Case) -> dict[str, float]:
    """Largest error divided by largest value, of the output and of every gradient.

    Exact values are those of the same operation in double precision (complex128).
    """
    found = _values(candidate.run, candidate.leaves)
    wide = {
        name: leaf.detach().to("cpu", double_dtype(leaf)).requires_grad_()
        for name, leaf in candidate.leaves.items()
    }
    exact = _values(lambda: case.exact(wide), wide)
    return {
        name: ((found[name].cpu() - value).abs().max() / value.abs().max()).item()
        for name, value in exact.items()
    }


def _values(run: Callable[[], Tensor], leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    y = run()
    total = y.real.sum() if y.is_complex() else y.sum()
    gradients = torch.autograd.grad(total, list(leaves.values()))
    named = {f"d{name}": g for name, g in zip(leaves, gradients, strict=True)}
    return {"y": y.detach(), **named}


def default_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def as_dicts(results: list[Result]) -> list[dict[str, Any]]:
    """Results as plain dicts, for JSON."""
    return [asdict(result) for result in results]


COLUMNS = (
    "operation",
    "backend",
    "B, L, channels, states",
    "forward ms",
    "(min)",
    "forward + backward ms",
    "(min)",
    "GB/s",
    "% of copy",
    "error of y",
    "worst gradient error",
    "bytes kept",
    "bytes at peak",
)


def row(result: Result) -> tuple[str, ...]:
    """The cells of a result, one for each of :data:`COLUMNS`."""
    errors = result.errors or {}
    gradients = [error for name, error in errors.items() if name != "y"]
    size = f"{result.batch}, {result.length}, {result.channels}, {result.states}"
    return (
        result.operation,
        result.backend,
        size,
        f"{result.forward_ms:.1f}",
        f"{result.forward_min_ms:.1f}",
        f"{result.both_ms:.1f}",
        f"{result.both_min_ms:.1f}",
        f"{result.forward_gb_s:.2f}",
        f"{result.percent_of_copy:.0f}",
        f"{errors['y']:.0e}" if errors else "other weights",
        f"{max(gradients):.0e}" if errors else "other weights",
        f"{result.kept_bytes:.0f}",
        "not measured" if result.peak_bytes is None else f"{result.peak_bytes:.0f}",
    )
