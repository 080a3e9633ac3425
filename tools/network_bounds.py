"""Bound and attacked gain of trained networks, by the product and by the tighter bound.

    python tools/network_bounds.py outputs/quickstart/runs

prints a line for each run: the product of the parts' bounds, the tighter bound, both divided by the
attacked gain of the run's result, and CPU seconds of the tighter one. Runs without weights, those
that diverged among them, are left out.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from torch import Tensor

from ssmbench import jsonio
from ssmbench.analysis.network_bound import any_length_bound
from ssmbench.errors import UsageError
from ssmbench.nn.encoded import gain_map
from ssmbench.nn.freeze import freeze
from ssmbench.nn.lumping import NotLumpedError, lumped_network
from ssmbench.results import LayerGains, Result
from ssmbench.runs.load import TrainedRun, load_trained
from ssmbench.training.composed import composed_bound, proved_layer_gains
from ssmbench.training.network_bound import batch_lengths, tighter_bound


def line(folder: Path, budget: float, any_length: bool = False) -> str:
    """The figures of one run."""
    run = load_trained(folder)
    result = Result.from_dict(jsonio.loads((folder / "result.json").read_text()), folder.name)
    gain = result.gain
    layers, said = list(gain.layers), gain.network
    frozen = freeze(run.model)
    _, signals = gain_map(frozen, run.task.sample_inputs("val", 2))
    steps = signals.shape[1]
    composed = composed_bound(run.model, layers, steps)
    start = time.process_time()
    size = signals.shape[2], batch_lengths(steps, None)
    found = tighter_bound(frozen, composed, proved_layer_gains(layers), *size, budget)
    seconds, attacked = time.process_time() - start, said.attacked
    figures = f"{composed.value:10.5g} {found.gain:10.5g} {attacked:10.5g}"
    ratios = f"{composed.value / attacked:9.3g} {found.gain / attacked:8.3g}"
    every = f"  any length {_any_length(run, layers, signals, budget)}" if any_length else ""
    name = f"{result.task.name}/{result.variant}-{result.discretizer}-s{result.seed}"
    return f"{name:45} {figures} {ratios} {seconds:8.1f}  {found.reason}{every}"


def _any_length(run: TrainedRun, layers: list[LayerGains], signals: Tensor, budget: float) -> str:
    """A bound for sequences of every length, as a stream's."""
    size = signals.shape[2], (signals.shape[1],)
    try:
        network = lumped_network(freeze(run.model), proved_layer_gains(layers), *size)
    except NotLumpedError as error:
        return f"none because {error}"
    found = any_length_bound(network, budget * 1e9)
    return f"none because {found.reason}" if found.reason else f"{found.gain:.5g}"


def lines(folders: Iterable[Path], budget: float, any_length: bool) -> Iterator[str]:
    """Of all runs with weights."""
    for folder in folders:
        if not (folder / "result.json").exists():
            continue
        try:
            yield line(folder, budget, any_length)
        except UsageError as error:
            print(error, file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--budget", type=float, default=10.0, help="billions of multiplications")
    parser.add_argument("--any-length", action="store_true", help="also for every length")
    given = parser.parse_args()
    heads = ("network", "product", "tighter", "attacked", "product/", "tighter/", "seconds")
    print("{:45} {:>10} {:>10} {:>10} {:>9} {:>8} {:>8}".format(*heads))
    for one in lines(sorted(given.runs.iterdir()), given.budget, given.any_length):
        print(one, flush=True)


if __name__ == "__main__":
    main()
