"""The delta rule that `ssmbench bench scans` times: that of contraction_delta, at random gates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ssmbench.bench.timing import Candidate
from ssmbench.scans.base import ScanBackend, ranked_backends
from ssmbench.scans.delta import sequential_delta_scan
from ssmbench.systems import TimeVaryingDelta


@dataclass(frozen=True)
class Sizes:
    """``groups`` of ``width`` channels each, with a key and a query of ``keys`` numbers a step."""

    groups: int
    width: int
    keys: int

    @property
    def channels(self) -> int:
        """One input and one output each."""
        return self.groups * self.width

    @property
    def row(self) -> int:
        """Numbers of a step: keys and queries, the decay and four gates of every group."""
        return self.groups * (2 * self.keys + 5)


def candidates(batch: int, length: int, sizes: Sizes, device: torch.device) -> dict[str, Candidate]:
    """Every backend that can, and a loop over time in PyTorch, which autograd differentiates."""
    system, u = _system(batch, length, sizes, device)
    leaves = {**system.tensors(), "u": u}
    found = {
        name: Candidate(partial(_scanned, backend, system, u), leaves)
        for name, backend in sorted(ranked_backends().items())
        if backend.refusal(system, device) is None
    }
    loop = Candidate(lambda: sequential_delta_scan(system, u, None)[0], leaves)
    return {**found, "loop in PyTorch": loop}


def exact(sizes: Sizes, leaves: Mapping[str, Tensor]) -> Tensor:
    """The output, one step at a time."""
    tensors = {name: t for name, t in leaves.items() if name != "u"}
    return sequential_delta_scan(TimeVaryingDelta(**tensors, width=sizes.width), leaves["u"], None)[
        0
    ]


def _scanned(backend: ScanBackend, system: TimeVaryingDelta, u: Tensor) -> Tensor:
    return backend(system, u, None)[0]


def _system(
    batch: int, length: int, sizes: Sizes, device: torch.device
) -> tuple[TimeVaryingDelta, Tensor]:
    """Unit keys and queries, and rotations by random angles up to a quarter turn."""
    place = (batch, length, sizes.groups)
    key, query = (torch.randn(*place, sizes.keys) for _ in range(2))
    angles, reading = (torch.pi / 2 * torch.rand(place) for _ in range(2))
    system = TimeVaryingDelta(
        key=key / key.norm(dim=-1, keepdim=True),
        query=query / query.norm(dim=-1, keepdim=True),
        decay=torch.full((*place, 1), 0.99),
        forget=1 - angles.cos(),
        write=angles.sin(),
        erase=1 - reading.cos(),
        read=reading.sin(),
        width=sizes.width,
    )
    u = torch.randn(batch, length, sizes.channels, 1, device=device, requires_grad=True)
    return system.map(lambda t: t.to(device).detach().requires_grad_()), u
