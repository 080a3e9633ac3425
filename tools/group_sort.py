"""The cost of GroupSort beside ``torch.maximum`` and ``torch.minimum``, forward and backward
pass in turns, processor time of one thread:

    python tools/group_sort.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from ssmbench.nn.nonlinearities import pair_sort

SIZES = ((64, 64, 32), (8, 1024, 128))
ROUNDS = 25


def cost(sort: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """Milliseconds of one forward and backward pass."""
    start = time.process_time()
    sort(x).sum().backward()
    return 1e3 * (time.process_time() - start)


def main() -> None:
    torch.set_num_threads(1)
    print("| size | GroupSort, ms | maximum and minimum, ms |\n| --- | ---: | ---: |")
    for size in SIZES:
        x = torch.randn(size, requires_grad=True)
        sorts = (pair_sort.sort_pairs, pair_sort._by_maximum)
        found = [[cost(sort, x) for sort in sorts] for _ in range(ROUNDS)]
        ours, others = (median(column) for column in zip(*found, strict=True))
        print(f"| {size} | {ours:.2f} | {others:.2f} |")


if __name__ == "__main__":
    main()
