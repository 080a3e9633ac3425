"""Time and memory of selective layers: as one operation, in separate ones, and beside s4d.

    .venv/bin/python tools/selective_cost.py --rounds 5

Processor time of one thread, forward and backward, in nanoseconds for each token and channel, in
turns, medians; and for each token and channel the bytes that are kept for the backward pass and the
most that are allocated at once, gradients among them. mambapy and mamba-ssm's reference in PyTorch,
if they can be imported, are timed with their own scans between the same step sizes, B and C; the
reference, whose time grows with the square of the steps, over 256 of them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor

from ssmbench import registry
from ssmbench.bench.cases import selective_case
from ssmbench.bench.timing import kept_bytes, peak_on_cpu
from ssmbench.nn.layer import SSMLayer

Action = Callable[[], Tensor]


def layer(name: str, method: str | None, states: int = 16) -> SSMLayer:
    """A layer of 64 channels with that many states each."""
    torch.manual_seed(0)
    entry = registry.parametrizations.get(name)
    discretizer = None if method is None else registry.discretizers.get(method).build()
    module = entry.build(entry.config(d_state=states), d_model=64)
    return SSMLayer(module, discretizer, registry.scans.get("cpu").build())


def in_parts(name: str, method: str) -> SSMLayer:
    """The same whose scan does not sample."""
    made = layer(name, method)
    made.scan.fuses = lambda system, u: False
    return made


def candidates(batch: int, length: int, parts: bool) -> dict[str, tuple[Action, list[Tensor]]]:
    """What is timed, with the tensors whose gradients are asked for."""
    u = torch.randn(batch, length, 64, requires_grad=True)
    layers = {
        "s4d, zoh": layer("s4d", "zoh"),
        "s4d, zoh, 64 states": layer("s4d", "zoh", states=64),
        "selective, zoh": layer("selective", "zoh"),
        "selective, bilinear": layer("selective", "bilinear"),
        "selective, tustin": layer("selective", "tustin"),
        "contraction_selective": layer("contraction_selective", None),
        "contraction_delta": layer("contraction_delta", None),
    }
    if parts:
        layers["selective, zoh, separate operations"] = in_parts("selective", "zoh")
    timed = {
        name: (lambda made=made: made(u), [u, *made.parameters()]) for name, made in layers.items()
    }
    scans = {"scan only, zoh": "cpu", "mambapy, scan only": "mambapy"}
    few = {
        "scan only, zoh, 256 steps": "cpu",
        "mamba-ssm selective_scan_ref, 256 steps": "mamba-ssm selective_scan_ref",
    }
    return timed | _of_case(batch, length, scans) | _of_case(batch, 256, few)


def _of_case(batch: int, length: int, keys: dict[str, str]) -> dict[str, tuple[Action, list]]:
    """Candidates of `ssmbench bench scans`, by the names that they get here."""
    case = selective_case(batch, length, channels=64, states=16).candidates(torch.device("cpu"))
    return {
        name: (case[key].run, list(case[key].leaves.values()))
        for name, key in keys.items()
        if key in case
    }


def nanoseconds(run: Action, leaves: list[Tensor]) -> tuple[float, float]:
    """Forward, and forward with backward, for each number of the output."""
    start = time.thread_time()
    y = run()
    middle = time.thread_time()
    torch.autograd.grad(y.sum(), leaves, allow_unused=True)
    end = time.thread_time()
    return 1e9 * (middle - start) / y.numel(), 1e9 * (end - start) / y.numel()


def kept_and_peak(run: Action, leaves: list[Tensor]) -> tuple[float, float]:
    """Bytes kept for the backward pass, and the most allocated at once, a number of the output."""
    with torch.no_grad():
        numbers = run().numel()
    return kept_bytes(run) / numbers, peak_on_cpu(partial(nanoseconds, run, leaves)) / numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--parts", action="store_true", help="time separate operations too (slow)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    timed = candidates(options.batch, options.length, options.parts)
    memory = {name: kept_and_peak(*given) for name, given in timed.items()}
    rounds = [
        {name: nanoseconds(*given) for name, given in timed.items()} for _ in range(options.rounds)
    ]
    print(
        f"| B = {options.batch}, L = {options.length}, 64 channels, 16 states | forward (ns) | "
        "forward + backward (ns) | kept (bytes) | peak (bytes) |"
    )
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in timed:
        forward, both = (median(found[name][k] for found in rounds) for k in (0, 1))
        kept, peak = memory[name]
        print(f"| {name} | {forward:.0f} | {both:.0f} | {kept:.0f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
