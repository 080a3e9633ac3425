"""The share of training time that monitoring the gains takes, in the runs of the quickstart.

    python tools/monitor_cost.py                      # digits, every variant, about a minute
    python tools/monitor_cost.py --task cascaded_tanks --rounds 20 --json

Training steps and monitoring passes are timed in turns, so that the load of the machine affects
both alike; the share follows from their medians and the interval in the config. Validation, data
loading and Lightning's own time are not counted, so the true share is smaller.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ssmbench import jsonio
from ssmbench.build.network import build_network
from ssmbench.build.optimizer import build_optimizer
from ssmbench.build.task import build_task
from ssmbench.config import RunConfig, typed
from ssmbench.nn.model import SequenceModel
from ssmbench.suite.grid import Cell, load_suite
from ssmbench.tasks.base import Task
from ssmbench.training.layer_analysis import FROZEN_SEQUENCES
from ssmbench.training.monitor import gain_figures

SUITE = Path(__file__).parents[1] / "configs" / "suites" / "quickstart.yaml"
ALLOWED = 0.05


def measured(cell: Cell, rounds: int) -> dict[str, Any]:
    """Milliseconds of a training step and of a monitoring pass, and the share of monitoring."""
    run = typed(cell.config)
    torch.manual_seed(run.seed)
    task = build_task(run)
    task.setup("fit")
    model = build_network(run, task.sizes)
    steps_per_epoch = len(task.train_dataloader())
    step, watch = _timed_in_turn(run, task, model, rounds)
    between = run.analysis.every_n_epochs * steps_per_epoch * step
    return {
        "run": cell.label,
        "step_ms": 1e3 * step,
        "monitor_ms": 1e3 * watch,
        "steps_between": run.analysis.every_n_epochs * steps_per_epoch,
        "share": watch / (watch + between),
    }


def _timed_in_turn(
    run: RunConfig, task: Task, model: SequenceModel, rounds: int
) -> tuple[float, float]:
    """Median seconds of a training step and of a monitoring pass."""
    optimizer = build_optimizer(model, run.optimizer)
    steps, passes = [], []
    batches, seen = list(task.train_dataloader()), task.sample("val", FROZEN_SEQUENCES)
    for index in range(rounds):
        for batch in (batches[(4 * index + k) % len(batches)] for k in range(4)):
            started = time.perf_counter()
            optimizer.zero_grad()
            task.batch_loss(model(batch.u), batch).backward()
            optimizer.step()
            steps.append(time.perf_counter() - started)
        started = time.perf_counter()
        gain_figures(model, seen.u, seen.lengths)
        passes.append(time.perf_counter() - started)
    return median(steps), median(passes)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="digits", help="one of the tasks of the quickstart")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args(arguments)
    cells = [c for c in load_suite(SUITE).cells if c.task == options.task and c.seed == 0]
    rows = []
    for cell in cells:
        rows.append(measured(cell, options.rounds))
        print(
            "{run}: step {step_ms:.1f} ms, monitoring {monitor_ms:.1f} ms every {steps_between} "
            "steps: {share:.2%} of training".format(**rows[-1]),
            file=sys.stderr if options.json else sys.stdout,
        )
    if options.json:
        print(jsonio.dumps(rows, indent=2))
    return 0 if rows and all(row["share"] < ALLOWED for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
