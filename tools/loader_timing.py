"""What share of a training step its batch takes to load, task by task.

    python tools/loader_timing.py                    # every task: some minutes
    python tools/loader_timing.py mnist text --json

Loading a batch, augmentation included, and a training step of s4d (width 64, 4 layers, 64 states)
are timed in turns in one thread, by the processor time of this process, so that what else runs on
the machine affects neither. Time in which the process waits for a disk is not counted. Published
files are read where they are found (SSMBENCH_DATA); elsewhere the task is in its tiny form, with
short sequences, whose steps are short as well.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ssmbench import jsonio
from ssmbench.build.network import build_network
from ssmbench.build.optimizer import build_optimizer
from ssmbench.build.task import build_task
from ssmbench.config import resolve, typed
from ssmbench.errors import UsageError
from ssmbench.registry import tasks
from ssmbench.tasks.base import Task
from ssmbench.tasks.batch import Batch

BATCH = 8
MODEL = {"d_model": 64, "n_layers": 4, "parametrization": "s4d", "discretizer": "zoh"}
#: Options with which little is generated: the time of a batch does not depend on the amount.
FEW: dict[str, dict[str, Any]] = {
    "listops": {"records": "generated", "train_expressions": 400},
    "pathfinder": {"records": "generated", "images": 400},
}
#: Each augmentation of signals, after the plain tasks.
AUGMENTED = {"spoken_digits": ["speed", "shift", "amplitude", "mask", "noise"]}
AUGMENTED |= {"scifar": ["crop", "flip"], "mnist": ["crop"]}


@dataclass
class Timed:
    """Processor time in milliseconds, medians; ``longest``: steps of the longest sequence."""

    task: str
    data: str
    longest: int
    load: float
    step: float

    @property
    def share(self) -> float:
        """Of the loading in a step."""
        return self.load / self.step


def timed(name: str, augment: list[str], rounds: int) -> Timed:
    """One task. Raises UsageError where it cannot be loaded."""
    with tempfile.TemporaryDirectory() as folder:
        task, data = _task(name, augment, Path(folder))
        longest, loads, steps = 0, [], []
        step = _stepper(task)
        batches = _batches(task)
        step(next(batches))  # the first step compiles and allocates
        for _ in range(rounds):
            started = time.process_time()
            batch = task.augmented(next(batches))
            loads.append(time.process_time() - started)
            started = time.process_time()
            step(batch)
            steps.append(time.process_time() - started)
            longest = max(longest, batch.u.shape[2 if batch.u.ndim == 4 else 1])
    label = f"{name} (augmented)" if augment else name
    return Timed(label, data, longest, 1e3 * median(loads), 1e3 * median(steps))


def _task(name: str, augment: list[str], folder: Path) -> tuple[Task, str]:
    """The task with its published or generated data; else in its tiny form."""
    entry = tasks.get(name)
    with contextlib.suppress(UsageError):
        task = _built({"name": name, **FEW.get(name, {})}, augment)
        task.setup()
        return task, "published" if task.data_files() else "bundled or generated"
    task = _built({"name": name, **entry.factory.tiny(folder)}, augment)
    task.setup()
    return task, "tiny"


def _built(options: dict[str, Any], augment: list[str]) -> Task:
    config = {"task": options, "augment": augment, "batch_size": BATCH}
    return build_task(typed(resolve(config)))


def _stepper(task: Task) -> Any:
    run = typed(resolve({"model": MODEL}))
    torch.manual_seed(0)
    model = build_network(run, task.sizes)
    optimizer = build_optimizer(model, run.optimizer)

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        task.training_loss(model(batch.u, batch.lengths, batch.dt), batch).backward()
        optimizer.step()

    return step


def _batches(task: Task) -> Iterator[Batch]:
    while True:
        yield from task.train_dataloader()


def machine() -> str:
    """The processor and the versions, without the machine's name."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(li for li in lines if li.startswith("model name")).partition(": ")[2]
    return f"{model}, {os.cpu_count()} cores, 1 thread; Python {platform.python_version()}, " + (
        f"PyTorch {torch.__version__}"
    )


def table(rows: list[Timed]) -> str:
    """In Markdown."""
    lines = [
        f"Batches of {BATCH}; {machine()}.\n",
        "| task | data | longest | a batch (ms) | a training step (ms) | share |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        figures = f"{row.longest:,} | {row.load:.2f} | {row.step:.0f} | {row.share:.1%}"
        lines.append(f"| `{row.task}` | {row.data} | {figures} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", help="all tasks if none is given")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = options.tasks or tasks.names()
    cases = [(name, []) for name in chosen]
    cases += [(name, AUGMENTED[name]) for name in chosen if name in AUGMENTED]
    rows = []
    for name, augment in cases:
        try:
            rows.append(timed(name, augment, options.rounds))
            print(rows[-1], file=sys.stderr, flush=True)
        except UsageError as error:
            print(f"{name}: left out: {error}", file=sys.stderr)
    found = [asdict(row) | {"share": row.share} for row in rows]
    document = {"machine": machine(), "batch_size": BATCH, "rows": found}
    print(jsonio.dumps(document, indent=1) if options.json else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
