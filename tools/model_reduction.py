"""The test score and the time of a trained run's network, with smaller and smaller SSM layers.

    python tools/model_reduction.py RUN --shares 0.5 0.8 0.9 --reducer input_weighted

Nothing is trained further, and nothing is written. With ``--batches N`` the score is that of the
first N batches of the test data. Times are those of 64 sequences at once and of one streamed step:
processor time of one thread, the median of several, the networks taking turns.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from ssmbench.nn.freeze import freeze
from ssmbench.nn.model import SequenceModel
from ssmbench.paths import absolute
from ssmbench.reduction import Amount
from ssmbench.runs.load import TrainedRun, load_trained
from ssmbench.runs.reduced_layers import ReductionRequest, reduced_layers
from ssmbench.tasks.base import Task

#: How often each network is timed.
_TURNS = 15
#: The steps of a stream that are timed together.
_STEPS = 20


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=absolute)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.8, 0.9])
    parser.add_argument("--reducer", default="balanced_truncation")
    parser.add_argument("--joint", action="store_true", help="shares of all states together")
    parser.add_argument("--order", type=int, help="with --joint: the largest of a head")
    parser.add_argument("--batches", type=int, default=None)
    given = parser.parse_args()
    torch.set_num_threads(1)
    amounts = [Amount(order=given.order, share=share, joint=given.joint) for share in given.shares]
    measure(given.run, [ReductionRequest(a, given.reducer) for a in amounts], given.batches)


@torch.no_grad()
def measure(folder: Path, requests: list[ReductionRequest], batches: int | None) -> None:
    """One row for the network as it is, and one for each request."""
    run = load_trained(folder)
    networks = {"0%": freeze(run.model)}
    for request in requests:
        removed, network = smaller(run, request)
        networks[f"{removed:.1%}"] = network
    scores = [score(network, run.task, batches) for network in networks.values()]
    u = networks["0%"].as_input(run.task.sample("val", 64).u)
    whole = by_turns([lambda n=n: n(u) for n in networks.values()])
    step = [t / _STEPS for t in by_turns([streaming(n, u) for n in networks.values()])]
    print(f"| removed | stored states | test {run.task.score} | 64 sequences, ms | a step, ms |")
    print("| --- | --- | --- | --- | --- |")
    for (label, network), *figures in zip(networks.items(), scores, whole, step, strict=True):
        states = ", ".join(str(layer.system().states) for layer in network.layers)
        found, sequences, one = figures
        print(f"| {label} | {states} | {found:.4f} | {sequences * 1e3:.1f} | {one * 1e3:.3f} |")


def smaller(run: TrainedRun, request: ReductionRequest) -> tuple[float, SequenceModel]:
    """The share of states that is removed, and the network without them."""
    network = freeze(run.model)
    found = list(reduced_layers(run.model, request, run.task).values())
    for layer, reduction in zip(network.layers, found, strict=True):
        layer.hold(reduction.system)
    total = sum(one.order * len(one.orders) for one in found)
    return 1 - sum(int(one.orders.sum()) for one in found) / total, network


def score(network: SequenceModel, task: Task, batches: int | None) -> float:
    """On the first batches of the test data."""
    metrics = task.metrics()
    for batch in itertools.islice(task.batches("test"), batches):
        predicted = network(network.as_input(batch.u), batch.lengths, batch.dt).float()
        metrics.update(*task.batch_metric(predicted, batch))
    return float(metrics.compute()[task.score])


def streaming(network: SequenceModel, u: torch.Tensor) -> Callable[[], object]:
    """One step of a stream, after its first; nothing of a network that cannot be streamed."""
    if network.bidirectional:
        return lambda: None
    axis = u.ndim - 1 if not u.is_floating_point() else u.ndim - 2
    step = u[:1].narrow(axis, 0, network.framing.samples)
    _, state = network.stream(step)

    def steps() -> None:
        for _ in range(_STEPS):
            network.stream(step, state)

    return steps


def by_turns(functions: list[Callable[[], object]]) -> list[float]:
    """The median processor time of each, in seconds."""
    taken: list[list[float]] = [[] for _ in functions]
    for _ in range(_TURNS):
        for function, times in zip(functions, taken, strict=True):
            start = time.process_time()
            function()
            times.append(time.process_time() - start)
    return [statistics.median(times) for times in taken]


if __name__ == "__main__":
    main()
