"""How much of a task's training batches is padding, in batches of similar lengths and shuffled?

python tools/padding.py spoken_digits --batch-size 8
"""

from __future__ import annotations

import argparse

import numpy as np

from ssmbench.registry import tasks


def padding(lengths: np.ndarray, batches: np.ndarray) -> float:
    """The share of steps that are padding; a row of ``batches`` for each batch."""
    padded = lengths[batches].max(1).sum() * batches.shape[1]
    return 1 - lengths[batches].sum() / padded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task")
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args()
    size = options.batch_size
    task = tasks.get(options.task).build(batch_size=size, seed=0)
    lengths = task.split("train").lengths
    if lengths is None:
        parser.error(f"the sequences of {options.task} have one length")
    order = np.array(list(task.train_dataloader().sampler))
    used = order[: len(order) // size * size].reshape(-1, size)
    shuffled = np.random.default_rng(0).permutation(used.flatten()).reshape(-1, size)
    print(f"similar lengths: {padding(lengths, used):.1%} of the steps are padding")
    print(f"shuffled:        {padding(lengths, shuffled):.1%}")


if __name__ == "__main__":
    main()
