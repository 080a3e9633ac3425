"""Launches of a layer on a GPU, counted without one: Triton kernels and operations of PyTorch.

    .venv/bin/python tools/layer_launches.py -o benchmarks/launches.json     # some minutes
    .venv/bin/python tools/layer_launches.py s4d --batch 8 --width 256
    .venv/bin/python tools/doc_tables.py

A layer of every parametrization with default options, sampled by zoh if it is continuous, scanned
by `auto` as on a GPU. Kernels are not run: each launch is noted in place of Triton's interpreter,
with the bytes of the tensors that it is given, each counted once, which is what moves where the
caches hold whatever is read again. Operations of PyTorch are run on the CPU and counted unless they
are views, about one launch each.
"""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"  # read when the kernels are imported

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from ssmbench import jsonio, registry
from ssmbench.bench.counting import OperationCount
from ssmbench.nn.layer import SSMLayer
from ssmbench.parametrizations import contraction_steps
from ssmbench.scans import sampling


@dataclass(frozen=True)
class Pass:
    """One direction: launches of PyTorch, those of each kernel, and bytes of the latter's tensors
    for each step, sequence and channel."""

    pytorch: int
    kernels: dict[str, int]
    kernel_bytes: float


@dataclass(frozen=True)
class Row:
    """A layer's launches."""

    parametrization: str
    batch: int
    length: int
    channels: int
    forward: Pass
    backward: Pass


class Launches:
    """Notes of the kernels that were to be launched."""

    def __init__(self) -> None:
        self.kernels: Counter[str] = Counter()
        self.bytes = 0

    def note(self, name: str, arguments: Sequence[Any]) -> None:
        """Count a kernel, and the tensors among its arguments."""
        self.kernels[name] += 1
        tensors = {a.data_ptr(): a.nbytes for a in arguments if isinstance(a, Tensor)}
        self.bytes += sum(tensors.values())


@contextmanager
def noted() -> Iterator[Launches]:
    """A context in which kernels are noted and not run: what they would write is undefined."""
    from triton.runtime.interpreter import GridExecutor

    found = Launches()

    def note(kernel: Any, *arguments: Any, **_: Any) -> None:
        found.note(kernel.fn.__name__, arguments)

    in_triton = patch.object(sampling, "_kernels", lambda tensor: sampling.in_triton)
    whole = patch.object(contraction_steps, "_PART", sys.maxsize)  # cut for a CPU's cache only
    with patch.object(GridExecutor, "__call__", note), in_triton, whole:
        yield found


def measure(name: str, batch: int, length: int, channels: int) -> Row:
    """Count both directions of one layer."""
    torch.manual_seed(0)
    entry = registry.parametrizations.get(name)
    method = registry.discretizers.get("zoh").build() if entry.factory.is_continuous() else None
    layer = SSMLayer(entry.build(d_model=channels), method, registry.scans.get("auto").build())
    u = torch.randn(batch, length, channels, requires_grad=True)
    with noted():
        layer(u[:, :1])  # what is checked once
    with noted() as kernels, OperationCount() as operations:
        y = layer(u)
    forward = _pass(operations, kernels, u)
    with noted() as kernels, OperationCount() as operations:
        torch.autograd.grad(y, [u, *layer.parameters()], torch.ones_like(y), allow_unused=True)
    return Row(name, batch, length, channels, forward, _pass(operations, kernels, u))


def _pass(operations: OperationCount, kernels: Launches, u: Tensor) -> Pass:
    return Pass(operations.launches, dict(kernels.kernels), kernels.bytes / u.numel())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parametrizations", nargs="*", help="all if none is given")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--output", "-o", type=Path, help="also write the figures as JSON")
    given = parser.parse_args()
    builtin = [entry.name for entry in registry.parametrizations if entry.builtin]
    rows = []
    for name in given.parametrizations or builtin:
        row = measure(name, given.batch, given.length, given.width)
        print(jsonio.dumps(asdict(row)), flush=True)
        rows.append(asdict(row))
    if given.output is not None:
        given.output.write_text(jsonio.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
