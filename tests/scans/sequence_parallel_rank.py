"""The ranks of the sequence-parallel tests: python sequence_parallel_rank.py RANKS FILE."""

import multiprocessing
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from ssmbench import registry
from ssmbench.scans import chunked
from ssmbench.scans.sequence_parallel import Segments, SequenceParallelScan, linear_scan
from ssmbench.systems import TimeVaryingDiagonal
from ssmbench.testing import example_systems, example_time_varying_systems, gradient_of_views

TOLERANCE = 1e-9


def main(ranks: int, store: str) -> int:
    """Fork the ranks, so that what they import is imported once; 1 where one of them failed."""
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=run, args=(rank, ranks, store)) for rank in range(ranks)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    return int(any(process.exitcode for process in started))


def run(rank: int, ranks: int, store: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    segments = Segments()
    checked = 0
    for length in (ranks, 37, 130):
        torch.manual_seed(length)
        for system in [*example_systems(), *example_time_varying_systems(2, length)]:
            check_system(segments, system.double(), length)
            checked += 1
        for varies in (False, True):
            for dtype in (torch.float64, torch.complex128):
                check_linear_scan(segments, length, varies, dtype)
                checked += 1
    print(f"rank {rank} checked {checked}\n", end="", flush=True)  # one write: all share the pipe
    dist.destroy_process_group()
    assert not gloo_threads(), "they abort the process when they outlive Python"


def gloo_threads() -> list[str]:
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if "gloo" in name]


def compare(name: str, found: torch.Tensor, expected: torch.Tensor) -> None:
    error = (found - expected).abs().max() / expected.abs().max().clamp_min(1e-9)
    assert error < TOLERANCE, f"{name}: relative error {error:.1e}"


def check_system(segments: Segments, system, length: int) -> None:
    """Outputs, final state and gradients of all inputs against one process with all of u."""
    system = system.map(lambda t: t.detach().requires_grad_())
    u = torch.randn(2, length, system.heads, system.inputs, dtype=torch.float64)
    u = u.requires_grad_()
    x0 = torch.randn(2, system.heads, system.states, dtype=system.dynamics.dtype)
    x0 = x0.requires_grad_()
    leaves = {**system.tensors(), "u": u, "x0": x0}
    inner = registry.scans.get("cpu").build()
    y, final = inner(system, u, x0)
    weight = torch.randn_like(y)
    total = (y * weight.conj()).real.sum() + final.abs().square().sum()
    expected = torch.autograd.grad(total, list(leaves.values()))
    own = of_segment(system, segments, length)
    mine, end = SequenceParallelScan(inner, segments)(own, segments.take(u), x0)
    compare("y", mine, segments.take(y))
    share = (mine * segments.take(weight).conj()).real.sum()
    last = segments.index == segments.count - 1
    if last:
        compare("x_final", end, final)
    share = share + last * end.abs().square().sum()
    gradients = torch.autograd.grad(share, list(leaves.values()), allow_unused=True)
    for (name, leaf), gradient, wanted in zip(leaves.items(), gradients, expected, strict=True):
        found = gradient_of_views(summed(gradient, leaf), leaf)
        compare(f"gradient of {name}", found, gradient_of_views(wanted, leaf))


def of_segment(system, segments: Segments, length: int):
    if not isinstance(system, TimeVaryingDiagonal):
        return system
    first = sum(segments.lengths(length)[: segments.index])
    return system.during(slice(first, first + segments.lengths(length)[segments.index]))


def summed(gradient: torch.Tensor | None, leaf: torch.Tensor) -> torch.Tensor:
    total = torch.zeros_like(leaf) if gradient is None else gradient.detach().resolve_conj()
    total = total.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(torch.view_as_real(total) if total.is_complex() else total)
    return total


def check_linear_scan(segments: Segments, length: int, varies: bool, dtype: torch.dtype) -> None:
    a = torch.randn((2, length, 5) if varies else (5,), dtype=dtype)
    a = (a / a.abs() * torch.rand_like(a.real)).requires_grad_()
    b = torch.randn(2, length, 5, dtype=dtype, requires_grad=True)
    x0 = torch.randn(2, 5, dtype=dtype, requires_grad=True)
    if varies:
        from ssmbench.scans.native import linear_scan as local
    else:
        local = chunked.linear_scan
    s = local(a, b, x0)
    weight = torch.randn_like(s)
    total = (s * weight.conj()).real.sum()
    expected = torch.autograd.grad(total, (a, b, x0), create_graph=True)
    directions = [torch.randn_like(g) for g in expected]
    curved = torch.autograd.grad(along(expected, directions), (a, b), allow_unused=True)
    mine_a = segments.take(a) if varies else a
    mine = linear_scan(mine_a, segments.take(b), x0, segments, local)
    compare("s", mine, segments.take(s))
    share = (mine * segments.take(weight).conj()).real.sum()
    gradients = torch.autograd.grad(share, (a, b, x0), allow_unused=True, create_graph=True)
    for name, leaf, gradient, wanted in zip("abx", (a, b, x0), gradients, expected, strict=True):
        compare(f"gradient of {name}", summed(gradient, leaf), wanted.detach())
    # each rank has a share of the gradient, and of what that share depends on
    seconds = torch.autograd.grad(along(gradients, directions), (a, b), allow_unused=True)
    for name, leaf, second, wanted in zip("ab", (a, b), seconds, curved, strict=True):
        compare(f"second gradient of {name}", summed(second, leaf), wanted)


def along(gradients, directions) -> torch.Tensor:
    pairs = zip(gradients, directions, strict=True)
    return sum((g * d.conj()).real.sum() for g, d in pairs if g is not None)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2]))
