"""CPU seconds of a training step, forward and backward, of runs beside each other.

    python tools/step_cost.py recall:mqar_64/delta recall:mqar_64/s4d
    python tools/step_cost.py digits_s4d --steps 20 --json

Runs as ``ssmbench run`` names them. The processor time of this process in one thread, on batches of
the run's task: the median over some steps, after two that are not counted.
"""

from __future__ import annotations

import argparse
import time
from itertools import cycle, islice
from statistics import median

import torch

from ssmbench import jsonio
from ssmbench.build.network import build_network
from ssmbench.build.task import build_task
from ssmbench.config import typed
from ssmbench.library.configs import read_run


def seconds(name: str, steps: int) -> float:
    """The median over steps of a run's network, on batches of its task."""
    run = typed(read_run(name).config)
    torch.manual_seed(run.seed)
    task = build_task(run)
    model = build_network(run, task.sizes)
    times = []
    for batch in islice(cycle(task.train_dataloader()), steps + 2):
        started = time.process_time()
        loss = task.training_loss(model(batch.u, batch.lengths, batch.dt), batch)
        loss.backward()
        model.zero_grad()
        times.append(time.process_time() - started)
    return median(times[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: seconds(name, arguments.steps) for name in arguments.runs}
    if arguments.json:
        print(jsonio.dumps(found, indent=1))
        return
    print("| run | CPU seconds of a step |\n| --- | ---: |")
    for name, figure in found.items():
        print(f"| {name} | {figure:.3g} |")


if __name__ == "__main__":
    main()
