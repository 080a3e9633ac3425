"""Operations that PyTorch dispatches in a layer, of every diagonal parametrization and scan.

    python tools/operation_counts.py                          # cpu and chunked
    TRITON_INTERPRET=1 python tools/operation_counts.py --scans triton
    python tools/operation_counts.py s4d --discretizer tustin

Forward + backward, from the parameters to the output, inside our own operators too; launches are
those that are no views, about one kernel each on a GPU. A Triton kernel counts as one of each, and
is not run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch

from ssmbench import registry
from ssmbench.bench.counting import OperationCount
from ssmbench.nn.layer import SSMLayer
from ssmbench.scans import sampling
from ssmbench.systems import DiagonalSystem

BATCH = 2


def diagonal() -> list[str]:
    """The parametrizations that give time-invariant diagonal systems."""
    factories = ((entry.name, entry.factory) for entry in registry.parametrizations)
    return [name for name, factory in factories if factory.gives(DiagonalSystem)]


def layer(name: str, discretizer: str, scan: str, width: int) -> SSMLayer:
    entry = registry.parametrizations.get(name)
    torch.manual_seed(0)
    continuous = entry.factory.is_continuous()
    method = registry.discretizers.get(discretizer).build() if continuous else None
    return SSMLayer(entry.build(d_model=width), method, registry.scans.get(scan).build())


def counts(ssm: SSMLayer, length: int, width: int) -> tuple[OperationCount, OperationCount]:
    """Of the forward and of the backward pass, after one in which parts are checked."""
    u = torch.randn(BATCH, length, width, requires_grad=True)
    leaves = [u, *(p for p in ssm.parameters() if p.requires_grad)]
    with kernels_counted(OperationCount):
        ssm(u)
    with OperationCount() as forward, kernels_counted(lambda: forward):
        y = ssm(u)
    seed = torch.ones_like(y)
    with OperationCount() as backward, kernels_counted(lambda: backward):
        torch.autograd.grad(y, leaves, seed, allow_unused=True)
    return forward, backward


@contextmanager
def kernels_counted(count: Callable[[], OperationCount]) -> Iterator[None]:
    """Kernels of Triton's interpreter are counted in place of being run."""
    try:
        from triton.runtime.interpreter import GridExecutor
    except ImportError:
        yield
        return

    def counted(*_: Any, **__: Any) -> None:
        count().operations += 1
        count().launches += 1

    with patch.object(GridExecutor, "__call__", counted):
        yield


def line(name: str, scan: str, arguments: argparse.Namespace) -> str:
    ssm = layer(name, arguments.discretizer, scan, arguments.width)
    kernels = sampling.in_triton if scan == "triton" else sampling.in_c
    with patch.object(sampling, "_kernels", lambda tensor: kernels):
        forward, backward = counts(ssm, arguments.length, arguments.width)
    figures = (
        f"{getattr(forward, what)} + {getattr(backward, what)}"
        for what in ("operations", "launches")
    )
    return f"| `{name}` | `{scan}` | {' | '.join(figures)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", default=diagonal())
    parser.add_argument("--scans", nargs="+", default=["cpu", "chunked"])
    parser.add_argument("--discretizer", default="zoh")
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--width", type=int, default=16)
    arguments = parser.parse_args()
    print("| parametrization | scan | operations | launches |\n| --- | --- | ---: | ---: |")
    for name in arguments.names:
        for scan in arguments.scans:
            print(line(name, scan, arguments), flush=True)


if __name__ == "__main__":
    main()
