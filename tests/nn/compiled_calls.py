"""Calls of compiled networks, in a process without the tests' checks of types inside functions.

Prints, for each kind of call, the graphs and graph breaks, and how far outputs and gradients are
from those without compilation.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
import torch._dynamo
from torch import Tensor

from ssmbench import jsonio

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import compile_table

INPUTS = compile_table.INPUTS
Call = tuple[Tensor | None, ...]


def signal(length: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, length, INPUTS)


def uneven(length: int) -> Call:
    return signal(length), None, 0.5 + torch.rand(2, length)


CALLS: dict[str, list[Call]] = {
    "lengths": [(signal(16),), (signal(12),), (signal(9),), (signal(20),)],
    "batches": [(signal(16, 4),), (signal(16, 3),), (signal(16, 1),)],
    "padded": [(signal(16), torch.tensor([16, 3])), (signal(12), torch.tensor([1, 12]))],
    "uneven": [uneven(16), uneven(12)],
}


def answers() -> Iterator[tuple[str, dict]]:
    model = compile_table.network("s4d", width=4, layers=1)
    parameters = list(model.parameters())
    for name, calls in CALLS.items():
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        compiled = torch.compile(model, backend="eager")
        worst = 0.0
        for call in calls:
            runs = (lambda u, f=f, rest=call[1:]: f(u, *rest) for f in (compiled, model))
            found, expected = (compile_table.gradients(f, call[0], parameters) for f in runs)
            worst = max(worst, compile_table.difference(found, expected))
        counted = torch._dynamo.utils.counters
        graphs, breaks = counted["stats"]["unique_graphs"], sum(counted["graph_break"].values())
        yield name, {"graphs": graphs, "breaks": breaks, "difference": worst}


if __name__ == "__main__":
    torch.manual_seed(0)
    print(jsonio.dumps(dict(answers())))
