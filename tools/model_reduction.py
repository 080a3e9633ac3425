"""The test score and the time of a trained run's network, with smaller and smaller SSM layers.

    python tools/model_reduction.py RUN --shares 0.5 0.8 0.9 --reducer balanced_truncation

Nothing is trained further, and nothing is written. With ``--batches N`` the score is that of the
first N batches of the test data. Times are those of 64 sequences at once and of
one streamed step, the median of several, on one thread.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import torch

from ssmbench.nn.freeze import freeze
from ssmbench.nn.model import SequenceModel
from ssmbench.paths import absolute
from ssmbench.reduction import Amount
from ssmbench.runs.load import load_trained
from ssmbench.runs.reducing import ReductionRequest, reduced_layers
from ssmbench.tasks.base import Task
from ssmbench.training.speed import sequence_seconds, step_seconds


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=absolute)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.8, 0.9])
    parser.add_argument("--reducer", default="balanced_truncation")
    parser.add_argument("--batches", type=int, default=None)
    given = parser.parse_args()
    torch.set_num_threads(1)
    measure(given.run, given.shares, given.reducer, given.batches)


def measure(folder: Path, shares: list[float], reducer: str, batches: int | None) -> None:
    """One row for the network as it is, and one for each share of the states that is removed."""
    run = load_trained(folder)
    print(f"| removed | stored states | test {run.task.score} | 64 sequences, ms | a step, ms |")
    print("| --- | --- | --- | --- | --- |")
    print(_row("0%", freeze(run.model), run.task, batches), flush=True)
    for share in shares:
        network = freeze(run.model)
        found = reduced_layers(run.model, ReductionRequest(Amount(share=share), reducer))
        for layer, reduction in zip(network.layers, found.values(), strict=True):
            layer.hold(reduction.system)
        print(_row(f"{share:.0%}", network, run.task, batches), flush=True)


@torch.no_grad()
def _row(label: str, network: SequenceModel, task: Task, batches: int | None) -> str:
    states = ", ".join(str(layer.system().states) for layer in network.layers)
    metrics = task.metrics()
    for batch in itertools.islice(task.batches("test"), batches):
        predicted = network(network.as_input(batch.u), batch.lengths, batch.dt).float()
        metrics.update(*task.batch_metric(predicted, batch))
    score = float(metrics.compute()[task.score])
    u = network.as_input(task.sample("val", 64).u)
    step = "none" if network.bidirectional else f"{step_seconds(network, u) * 1e3:.3f}"
    return (
        f"| {label} | {states} | {score:.4f} | {sequence_seconds(network, u) * 1e3:.1f} | {step} |"
    )


if __name__ == "__main__":
    main()
