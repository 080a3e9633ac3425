"""What a token costs in short and long sequences, for a layer of every parametrization.

    export MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=2147483647
    .venv/bin/python tools/token_cost.py -o benchmarks/tokens-cpu.json     # some minutes
    .venv/bin/python tools/token_cost.py s4d selective --lengths 1024 4096
    .venv/bin/python tools/doc_tables.py

One layer of 32 channels with default options over one sequence, forward and backward, in processor
time of one thread for each step and channel: medians of rounds in turns. A continuous
parametrization is sampled by zoh. *Growth* is the cost in the longest sequence divided by the
cheapest; *fixed* that in the shortest one, in which costs that do not depend on the length show.
Bytes are those kept for the backward pass and the most allocated at once in both passes, gradients
among them, for each step and channel. Exits with 1 where growth is more than 1.5.

The variables let glibc keep freed memory: without them, the kernel clears each page of a block
above 32 MiB whenever it is allocated, which takes up to half of the time of the longest sequence.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from ssmbench import jsonio, registry
from ssmbench.bench.timing import device_name, kept_bytes, peak_on_cpu
from ssmbench.nn.layer import SSMLayer

LENGTHS = (2**10, 2**12, 2**14, 2**16, 2**18)
CHANNELS = 32
#: The most that a token may cost in the longest sequence, beside where it is cheapest.
FLAT = 1.5
#: Steps that a timing takes at least: shorter sequences are run several times in it.
_STEPS = 2**13


@dataclass(frozen=True)
class Row:
    """A layer's nanoseconds and bytes for each step and channel, by length."""

    parametrization: str
    discretizer: str | None
    channels: int
    nanoseconds: Mapping[int, float]
    kept: Mapping[int, float]
    peak: Mapping[int, float]
    device: str

    @property
    def growth(self) -> float:
        """The longest sequence's cost beside the cheapest."""
        return self.nanoseconds[max(self.nanoseconds)] / min(self.nanoseconds.values())

    @property
    def fixed(self) -> float:
        """The shortest sequence's cost beside the cheapest."""
        return self.nanoseconds[min(self.nanoseconds)] / min(self.nanoseconds.values())


def layer(name: str, discretizer: str | None) -> SSMLayer:
    """A layer with default options."""
    torch.manual_seed(0)
    module = registry.parametrizations.get(name).build(d_model=CHANNELS)
    method = None if discretizer is None else registry.discretizers.get(discretizer).build()
    return SSMLayer(module, method, registry.scans.get("auto").build())


def measure(name: str, lengths: Sequence[int], rounds: int) -> Row:
    """Time the lengths in turns, after one pass over the shortest."""
    continuous = registry.parametrizations.get(name).factory.is_continuous()
    discretizer = "zoh" if continuous else None
    made = layer(name, discretizer)
    signals = {length: torch.randn(1, length, CHANNELS, requires_grad=True) for length in lengths}
    pass_over(made, signals[min(lengths)])
    times: dict[int, list[float]] = {length: [] for length in lengths}
    for _ in range(rounds):
        for length, u in signals.items():
            times[length].append(seconds(made, u))
    kept = {n: kept_bytes(lambda u=u: made(u)) / u.numel() for n, u in signals.items()}
    peak = {n: peak_on_cpu(lambda u=u: pass_over(made, u)) / u.numel() for n, u in signals.items()}
    costs = {n: 1e9 * median(times[n]) / u.numel() for n, u in signals.items()}
    device = device_name(torch.device("cpu"))
    return Row(name, discretizer, CHANNELS, costs, kept, peak, device)


def pass_over(made: SSMLayer, u: Tensor) -> None:
    """Forward and backward."""
    y = made(u)
    torch.autograd.grad(y.sum(), [u, *made.parameters()], allow_unused=True)


def seconds(made: SSMLayer, u: Tensor) -> float:
    """Of processor time for one pass."""
    passes = max(1, _STEPS // u.shape[1])
    started = time.process_time()
    for _ in range(passes):
        pass_over(made, u)
    return (time.process_time() - started) / passes


def names(given: Sequence[str]) -> list[str]:
    """Those asked for, or all that the package registers."""
    builtin = [entry.name for entry in registry.parametrizations if entry.builtin]
    return [registry.parametrizations.get(name).name for name in given] or builtin


def line(row: Row) -> str:
    """A row of the table."""
    costs = " | ".join(f"{cost:.0f}" for cost in row.nanoseconds.values())
    longest = max(row.nanoseconds)
    return (
        f"| `{row.parametrization}` | {costs} | {row.growth:.2f} | {row.fixed:.2f} "
        f"| {row.kept[longest]:.0f} | {row.peak[longest]:.0f} |"
    )


def as_json(rows: Sequence[Row]) -> str:
    """Rows with the lengths as words, which keys of JSON are."""
    words = [
        {
            key: {str(n): v for n, v in value.items()} if isinstance(value, Mapping) else value
            for key, value in {**asdict(row), "growth": row.growth, "fixed": row.fixed}.items()
        }
        for row in rows
    ]
    return jsonio.dumps(words, indent=1) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parametrizations", nargs="*", help="all if none is given")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lengths", type=int, nargs="*", default=LENGTHS)
    parser.add_argument("--output", "-o", type=Path, help="also write the figures as JSON")
    given = parser.parse_args()
    torch.set_num_threads(1)
    lengths = " | ".join(f"{n:,}" for n in given.lengths)
    print(f"| parametrization | {lengths} | growth | fixed | kept | peak |")
    print(f"| --- |{' ---: |' * (len(given.lengths) + 4)}")
    rows = []
    for name in names(given.parametrizations):
        rows.append(measure(name, sorted(given.lengths), given.rounds))
        print(line(rows[-1]), flush=True)
    if given.output is not None:
        given.output.write_text(as_json(rows))
    return int(any(row.growth > FLAT for row in rows))


if __name__ == "__main__":
    sys.exit(main())
