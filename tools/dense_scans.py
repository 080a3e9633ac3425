"""Dense systems: operations, processor time, errors, and the cost a token from 1k to 262k.

    python tools/dense_scans.py                                  # some minutes
    python tools/dense_scans.py -o benchmarks/dense-cpu.json     # also writes the figures
    python tools/dense_scans.py --lengths 1024 4096

Several ways to scan one system, in turns, in processor time of one thread (medians). Operations are
what PyTorch dispatches in the forward and the backward pass, inside our own operators too; launches
are those that are no views, about one kernel each on a GPU. Errors of the output and of each
gradient are relative to their largest value in double precision. Exits with 1 where a token costs
more than 1.5 times as much in a longer sequence as in the first.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from ssmbench import jsonio, registry
from ssmbench.bench.counting import OperationCount
from ssmbench.bench.timing import device_name
from ssmbench.scans import native
from ssmbench.scans.chunked_dense import dense_scan, dense_toeplitz_scan
from ssmbench.systems import DiscreteDense

Scan = Callable[[DiscreteDense, Tensor, None], tuple[Tensor, Tensor]]

LENGTHS = (2**10, 2**12, 2**14, 2**16, 2**18)
FLAT = 1.5


@dataclass(frozen=True)
class Size:
    """A bank of ``heads`` systems of ``states`` states and ``channels`` inputs and outputs."""

    title: str
    batch: int
    length: int
    heads: int
    channels: int
    states: int

    def system(self) -> DiscreteDense:
        """A orthogonal, but for a factor that gives it a memory of some hundred steps."""
        random = torch.Generator().manual_seed(0)
        shapes = {
            "B": (self.states, self.channels),
            "C": (self.channels, self.states),
            "D": (self.channels, self.channels),
        }
        square = torch.randn(self.heads, self.states, self.states, generator=random)
        matrices = {"A": torch.linalg.qr(square).Q * 0.995}
        for name, shape in shapes.items():
            scale = shape[1] ** -0.5
            matrices[name] = scale * torch.randn(self.heads, *shape, generator=random)
        return DiscreteDense(**matrices)

    def leaves(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        random = torch.Generator().manual_seed(1)
        u = torch.randn(self.batch, self.length, self.heads, self.channels, generator=random)
        tensors = {**self.system().tensors(), "u": u}
        return {name: t.to(dtype).requires_grad_() for name, t in tensors.items()}


@dataclass(frozen=True)
class Row:
    """What one way to scan takes; counts are of (forward, backward)."""

    size: Size
    scan: str
    forward_ms: float
    both_ms: float
    operations: tuple[int, int]
    launches: tuple[int, int]
    largest_tensor: int
    errors: dict[str, float]


@dataclass(frozen=True)
class Token:
    """Nanoseconds of forward and backward for a step and channel, by length."""

    title: str
    scan: str
    nanoseconds: dict[int, float]

    @property
    def growth(self) -> float:
        """The dearest token beside one of the shortest sequence."""
        costs = list(self.nanoseconds.values())
        return max(costs) / costs[0]


SHARED = Size("one system, 64 channels", 8, 4096, 1, 64, 64)
BANK = Size("bank of 32 single-channel systems", 4, 4096, 32, 1, 64)
BACKENDS = {name: registry.scans.get(name).build() for name in ("cpu", "chunked")}
WAYS: Mapping[Size, Mapping[str, Scan]] = {
    SHARED: {"C": native.scan_dense, "chunks of chunks": dense_scan},
    BANK: {
        "C": native.scan_dense,
        "chunks of chunks": dense_scan,
        "Toeplitz blocks": dense_toeplitz_scan,
    },
}


def run(scan: Scan, leaves: Mapping[str, Tensor]) -> Tensor:
    matrices = {name: leaves[name] for name in ("A", "B", "C", "D")}
    return scan(DiscreteDense(**matrices), leaves["u"], None)[0]


def gradients(y: Tensor, leaves: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(2)).to(y.dtype)
    return torch.autograd.grad(y, list(leaves.values()), weights)


def seconds(scan: Scan, leaves: Mapping[str, Tensor]) -> tuple[float, float]:
    """Of the forward pass, and of both."""
    started = time.process_time()
    y = run(scan, leaves)
    forward = time.process_time() - started
    torch.autograd.grad(y, list(leaves.values()), torch.ones_like(y))
    return forward, time.process_time() - started


def measure(size: Size, rounds: int) -> list[Row]:
    ways, leaves = WAYS[size], size.leaves()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for scan in ways.values():
        seconds(scan, leaves)
    for _ in range(rounds):
        for name, scan in ways.items():
            times[name].append(seconds(scan, leaves))
    wide = size.leaves(torch.float64)
    y = run(native.scan_dense, wide)
    exact = {"y": y.detach(), **dict(zip(wide, gradients(y, wide), strict=True))}
    return [row(size, name, scan, leaves, times[name], exact) for name, scan in ways.items()]


def row(
    size: Size,
    name: str,
    scan: Scan,
    leaves: Mapping[str, Tensor],
    times: Sequence[tuple[float, float]],
    exact: Mapping[str, Tensor],
) -> Row:
    with OperationCount() as forward:
        y = run(scan, leaves)
    with OperationCount() as backward:
        found = gradients(y, leaves)
    values = {"y": y.detach(), **dict(zip(leaves, found, strict=True))}
    errors = {k: ((values[k] - v).abs().max() / v.abs().max()).item() for k, v in exact.items()}
    return Row(
        size=size,
        scan=name,
        forward_ms=1e3 * median(t[0] for t in times),
        both_ms=1e3 * median(t[1] for t in times),
        operations=(forward.operations, backward.operations),
        launches=(forward.launches, backward.launches),
        largest_tensor=max(forward.largest, backward.largest),
        errors=errors,
    )


def tokens(size: Size, lengths: Sequence[int], rounds: int) -> list[Token]:
    """One sequence of each length, in turns, on each backend."""
    sizes = {
        length: Size(size.title, 1, length, size.heads, size.channels, size.states)
        for length in lengths
    }
    leaves = {length: one.leaves() for length, one in sizes.items()}
    found = []
    for name, scan in BACKENDS.items():
        times: dict[int, list[float]] = {length: [] for length in lengths}
        for _ in range(rounds):
            for length in lengths:
                times[length].append(seconds(scan, leaves[length])[1])
        channels = size.heads * size.channels
        costs = {length: 1e9 * median(t) / length / channels for length, t in times.items()}
        found.append(Token(size.title, name, costs))
    return found


def print_rows(rows: Sequence[Row]) -> None:
    print(
        "| system | B, L, heads, channels, states | scan | forward ms | both ms | operations |"
        " launches | largest tensor | error of y | worst gradient |"
    )
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for r in rows:
        s = r.size
        size = f"{s.batch}, {s.length}, {s.heads}, {s.channels}, {s.states}"
        worst = max(error for name, error in r.errors.items() if name != "y")
        counts = " | ".join(" + ".join(map(str, c)) for c in (r.operations, r.launches))
        print(
            f"| {s.title} | {size} | {r.scan} | {r.forward_ms:.1f} | {r.both_ms:.1f} | {counts} "
            f"| {r.largest_tensor:,} | {r.errors['y']:.1e} | {worst:.1e} |"
        )


def print_tokens(found: Sequence[Token], lengths: Sequence[int]) -> None:
    print(f"\n| system | backend | {' | '.join(f'L = {n:,}' for n in lengths)} | growth |")
    print(f"| --- | --- | {' | '.join('---:' for _ in lengths)} | ---: |")
    for token in found:
        costs = " | ".join(f"{token.nanoseconds[n]:.0f}" for n in lengths)
        print(f"| {token.title} | {token.scan} | {costs} | {token.growth:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lengths", type=int, nargs="*", default=LENGTHS)
    parser.add_argument("-o", "--output", type=Path, help="also write the figures as JSON")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for size in WAYS for row in measure(size, given.rounds)]
    print_rows(rows)
    found = [token for size in WAYS for token in tokens(size, given.lengths, 3)]
    print_tokens(found, given.lengths)
    if given.output:
        record = {
            "device": device_name(torch.device("cpu")),
            "rows": [asdict(row) for row in rows],
            "nanoseconds of a token and channel": [
                {**asdict(token), "nanoseconds": {str(k): v for k, v in token.nanoseconds.items()}}
                for token in found
            ],
        }
        given.output.write_text(jsonio.dumps(record, indent=1) + "\n")
    sys.exit(any(token.growth > FLAT for token in found))


if __name__ == "__main__":
    main()
