"""One rank of the test that networks share sequences: python segments_rank.py RANK RANKS FILE."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
import torch.distributed as dist

from ssmbench.nn.pooling import Pooling
from ssmbench.scans.sequence_parallel import Segments
from tests.nn.networks import error, network, signal

TOLERANCE = 1e-9
LENGTHS = torch.tensor([13, 1, 7, 6])


def main(rank: int, ranks: int, store: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    checked = 0
    for name in ("s4d", "l2ru"):
        for pooling in (None, *Pooling):
            for lengths in (None, LENGTHS):
                check(Segments(), network(name, pooling=pooling, learned=True), lengths)
                checked += 1
    print(f"rank {rank} checked {checked}")
    dist.destroy_process_group()


def check(segments: Segments, model: torch.nn.Module, lengths: torch.Tensor | None) -> None:
    """The prediction on every rank, and the gradients' mean over ranks, as DDP takes it."""
    u = signal(4, 13)
    expected = model(u, lengths)
    wanted = torch.autograd.grad(expected.square().sum(), list(model.parameters()))
    with model.sharing(segments):
        found = model(u, lengths)
        assert error(found, expected) < TOLERANCE
        gradients = torch.autograd.grad(found.square().sum(), list(model.parameters()))
    for (name, _), mine, whole in zip(model.named_parameters(), gradients, wanted, strict=True):
        mean = mine.contiguous() / segments.count
        dist.all_reduce(mean)
        assert error(mean, whole) < TOLERANCE, name


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
