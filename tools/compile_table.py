"""Training steps of every parametrization through ``torch.compile``, beside uncompiled ones.

    python tools/compile_table.py --layers 1 --json benchmarks/compile-cpu.json
    python tools/compile_table.py s4d l2ru --length 1024 --width 64
    python tools/compile_table.py --backend aot_eager --steps 0

Each in a process of its own, so that one that crashes is a row of the table: graphs and graph
breaks; the largest difference of the output, and of the gradient of a parameter, relative to the
largest entry of each; processor time of a step (forward, backward, optimizer) in one thread,
compiled and not, in turns, the median. ``--json`` writes the figures with what they were measured
of, after each row; a later call of the same sources and settings measures the others, one of
other sources or settings starts anew. ``tools/doc_tables.py`` makes the table of the documentation
of that file. The exit status is 1 if a row has another number of graphs than one, a graph break, a
difference above ``--tolerance``, or an error.
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch._dynamo
from torch import Tensor

from ssmbench import jsonio, registry
from ssmbench.bench import timing
from ssmbench.build.network import build_network
from ssmbench.config import typed
from ssmbench.library.configs import read_run
from ssmbench.spec import Channels, TaskSizes

PROJECT = Path(__file__).resolve().parent.parent
INPUTS, OUTPUTS, BATCH = 3, 5, 2
HEADER = (
    "| parametrization | graphs | breaks | difference | compiled in (CPU s) | step (CPU ms) | "
    "compiled step | gain |",
    "| --- |" + " ---: |" * 7,
)


def network(name: str, width: int, layers: int) -> torch.nn.Module:
    """A network of one parametrization with default options, sampled by zoh if it is continuous."""
    continuous = registry.parametrizations.get(name).factory.is_continuous()
    model = {"parametrization": name, "discretizer": "zoh" if continuous else None}
    run = read_run({"task": "delay", "model": model | {"d_model": width, "n_layers": layers}})
    sizes = TaskSizes(Channels(INPUTS), OUTPUTS, length=64, per_step=False)
    torch.manual_seed(0)
    return build_network(typed(run.config), sizes)


def gradients(run: Callable[[Tensor], Tensor], u: Tensor, parameters: list) -> list[Tensor | None]:
    """The output, and the gradients of a loss that weighs all of it."""
    y = run(u)
    loss = (y * torch.linspace(1, 2, y.numel()).view_as(y)).square().sum()
    return [y.detach(), *torch.autograd.grad(loss, parameters, allow_unused=True)]


def difference(found: Iterable[Tensor | None], expected: Iterable[Tensor | None]) -> float:
    """The largest of all tensors, relative to the largest entry of each; infinite where one of two
    is None, or a number is not finite."""
    worst = 0.0
    for one, other in zip(found, expected, strict=True):
        if one is None or other is None:
            worst = worst if one is other else float("inf")
            continue
        error = (one - other).abs().max().item()
        size = other.abs().max().item()
        relative = error / size if size > 0 else float(error > 0)
        worst = max(worst, relative if math.isfinite(relative) else float("inf"))
    return worst


def seconds_of_steps(runs: list[Callable[[Tensor], Tensor]], u: Tensor, steps: int, model) -> list:
    """Medians of the processor time of a training step of each, in turns."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(steps + 2):
        for run, taken in zip(runs, times, strict=True):
            started = time.process_time()
            run(u).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            taken.append(time.process_time() - started)
    return [median(taken[2:]) for taken in times]


def measured(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """A row of the table."""
    model = network(name, arguments.width, arguments.layers)
    parameters = list(model.parameters())
    u = torch.randn(BATCH, arguments.length, INPUTS)
    expected = gradients(model, u, parameters)
    started = time.process_time()
    compiled = torch.compile(model, backend=arguments.backend)
    found = gradients(compiled, u, parameters)
    took = time.process_time() - started
    counters = torch._dynamo.utils.counters
    row = {
        "graphs": counters["stats"]["unique_graphs"],
        "breaks": sum(counters["graph_break"].values()),
        "compile_s": took,
        "difference": difference(found, expected),
    }
    if arguments.steps:
        row["eager_s"], row["compiled_s"] = seconds_of_steps(
            [model, compiled], u, arguments.steps, model
        )
    return row


def in_own_process(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """:func:`measured` in a child; the error, or the signal that ended it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = measured(name, arguments)
        except BaseException as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[:1]}"}
        if math.isinf(answer.get("difference", 0)):
            answer = {"error": "a gradient is missing, or a number is not finite"}
        os.write(writing, jsonio.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return jsonio.loads(said) if said else {"error": f"ended with status {status}"}


def is_right(row: dict[str, Any], tolerance: float) -> bool:
    """No error, one graph without a break, and equal up to rounding."""
    whole = "error" not in row and (row["graphs"], row["breaks"]) == (1, 0)
    return whole and row["difference"] <= tolerance


def line(name: str, row: dict[str, Any]) -> str:
    """A row in Markdown."""
    if "error" in row:
        return f"| `{name}` | {row['error']} |" + " |" * 6
    counts = f"{row['graphs']} | {row['breaks']}"
    cells = [f"`{name}`", counts, f"{row['difference']:.0e}", f"{row['compile_s']:.0f}"]
    if "eager_s" in row:
        cells += [f"{1e3 * row[key]:.1f}" for key in ("eager_s", "compiled_s")]
        cells.append(f"{row['eager_s'] / row['compiled_s']:.2f}")
    return f"| {' | '.join(cells)} |"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", default=registry.parametrizations.names())
    parser.add_argument("--backend", default="inductor")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20, help="timed steps; 0 for none")
    parser.add_argument("--tolerance", type=float, default=2e-4)
    parser.add_argument("--json", type=Path, help="file of the figures")
    return parser.parse_args()


def measured_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What figures depend on: settings, sources and the machine."""
    command = ["git", "rev-parse", "HEAD:ssmbench"]
    sources = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=False)
    settings = ("backend", "width", "layers", "length", "steps")
    return {
        "sources": sources.stdout.strip(),
        "device": timing.device_name(torch.device("cpu")),
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: getattr(arguments, name) for name in settings},
    }


def main() -> int:
    arguments = parsed()
    torch.set_num_threads(1)
    if arguments.backend == "inductor":  # imported once, before the processes part
        importlib.import_module("torch._inductor.compile_fx")
    torch.compile(torch.nn.Linear(1, 1), backend="eager")(
        torch.ones(1)
    )  # imports what tracing does
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    about, kept = measured_of(arguments), arguments.json
    earlier = jsonio.loads(kept.read_text()) if kept and kept.exists() else {}
    rows = earlier.get("rows", {}) if earlier.get("about") == about else {}
    print("\n".join(HEADER))
    for name in arguments.names:
        if name not in rows:
            rows[name] = in_own_process(name, arguments)
            if kept:
                kept.write_text(jsonio.dumps({"about": about, "rows": rows}, indent=1) + "\n")
        print(line(name, rows[name]), flush=True)
    return 0 if all(is_right(rows[n], arguments.tolerance) for n in arguments.names) else 1


if __name__ == "__main__":
    sys.exit(main())
