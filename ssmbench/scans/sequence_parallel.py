"""Scans over a sequence whose segments lie on different ranks of torch.distributed.

Each rank scans its segment from a zero state; the ranks exchange only their segments' final states
(and, where A varies with time, the products of A), of a size that does not depend on L; each then
adds what its incoming state contributes. The backward runs the same way: the exchange's adjoint
sums the gradients that all ranks have of each segment's final state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

# Its functions' default arguments hold the default group that exists when it is first imported:
# imported later, by chance, it would keep gloo's threads alive beyond destroy_process_group.
import torch.distributed.nn
from jaxtyping import Inexact
from torch import Tensor

from ssmbench.linalg.powers import power
from ssmbench.linalg.precision import to_double
from ssmbench.registry import NoOptions
from ssmbench.scans.base import (
    LinearScan,
    ScanBackend,
    Scannable,
    initial_state,
    rows_for,
    widening,
)
from ssmbench.scans.chunked import zero_input_response
from ssmbench.systems import DiscreteDiagonal, DiscreteSystem, TimeVaryingDiagonal, by_head


@dataclass(frozen=True)
class Segments:
    """The ranks that share one sequence: segment k, in order of time, lies on the k-th of them."""

    group: dist.ProcessGroup | None = None

    @classmethod
    def among(cls, ranks_per_sequence: int) -> Segments:
        """Groups of neighbouring ranks of the default group; every rank must call this."""
        world = dist.get_world_size()
        firsts = range(0, world, ranks_per_sequence)
        groups: list[Any] = [
            dist.new_group(range(first, first + ranks_per_sequence)) for first in firsts
        ]
        return cls(groups[dist.get_rank() // ranks_per_sequence])

    @property
    def count(self) -> int:
        return dist.get_world_size(self.group)

    @property
    def index(self) -> int:
        return dist.get_rank(self.group)

    def lengths(self, total: int) -> list[int]:
        """Steps of each segment of ``total``: as equal as can be, longer ones first."""
        share, extra = divmod(total, self.count)
        return [share + (k < extra) for k in range(self.count)]

    def start(self, total: int) -> int:
        """Steps of ``total`` before this rank's segment."""
        return sum(self.lengths(total)[: self.index])

    def take(self, signal: Inexact[Tensor, "B L *rest"]) -> Inexact[Tensor, "B l *rest"]:
        """This rank's segment of a whole signal."""
        return signal.split(self.lengths(signal.shape[1]), dim=1)[self.index]

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all ranks, alike in shape; the adjoint sums their gradients."""
        return list(_Gather.apply(tensor, self.group).unbind(0))

    def join(self, segment: Inexact[Tensor, "B l *rest"], total: int) -> Tensor:
        """The whole signal (B, L, ...) from every rank's segment; the adjoint of :meth:`take`."""
        lengths = self.lengths(total)
        padded = segment.new_zeros(segment.shape[0], max(lengths), *segment.shape[2:])
        padded = torch.cat([segment, padded[:, segment.shape[1] :]], 1)
        parts = zip(self.gather(padded), lengths, strict=True)
        return torch.cat([part[:, :length] for part, length in parts], 1)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over ranks."""
        return torch.stack(self.gather(tensor)).sum(0)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group = group
        real = _as_real(tensor)
        parts = [torch.empty_like(real) for _ in range(dist.get_world_size(group))]
        dist.all_gather(parts, real, group=group)
        stacked = torch.stack(parts)
        return torch.view_as_complex(stacked) if tensor.is_complex() else stacked

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _SumOfOwn.apply(gradient, ctx.group), None


class _SumOfOwn(torch.autograd.Function):
    """The adjoint of :class:`_Gather`: this rank's row (R, ...), summed over the ranks."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group = group
        total = _as_real(rows).clone()
        dist.all_reduce(total, group=group)
        mine = total[dist.get_rank(group)]
        return torch.view_as_complex(mine) if rows.is_complex() else mine

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Gather.apply(gradient, ctx.group), None


def _as_real(tensor: Tensor) -> Tensor:
    """gloo and nccl move real numbers."""
    tensor = tensor.contiguous().resolve_conj()
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


class SequenceParallelScan(ScanBackend):
    """Another backend's scan, over segments; u and y are this rank's, x0 is the first segment's.

    The final state returned is that at the end of this rank's segment. Every rank must call it, and
    run its backward, alike. A time-varying system has the matrices of this rank's segment.
    """

    takes_shared_rows = True

    def __init__(self, inner: ScanBackend, segments: Segments):
        super().__init__(NoOptions())
        self.inner = inner
        self.segments = segments

    def unsupported_reason(self, system: Scannable, device: torch.device) -> str | None:
        return self.inner.unsupported_reason(system, device)

    @widening
    def __call__(
        self, system: Scannable, u: Tensor, x0: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        first = self.segments.index == 0
        if isinstance(system, TimeVaryingDiagonal):
            return self._time_varying(system, u, x0)
        assert isinstance(system, DiscreteSystem), "other types are not in system_types"
        # The later segments' graphs hold x0 too, with weight zero: each rank has its gradient.
        y, final = self.inner(system, u, x0 if first or x0 is None else 0 * x0)
        finals = self.segments.gather(final)
        lengths = self._lengths(u)
        incoming = _incoming(finals, lengths, self.segments.index, system)
        # The first segment takes part with weight zero, so that every rank's graph is the same.
        response, carried = zero_input_response(system, incoming, u.shape[1])
        return y + response.to(y.dtype), final + carried.to(final.dtype)

    def _time_varying(
        self, system: TimeVaryingDiagonal, u: Tensor, x0: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The segment is scanned twice, as in :func:`linear_scan`."""
        system = rows_for(self.inner, system)
        start = initial_state(system, u, x0)
        start = start if self.segments.index == 0 else 0 * start
        end = self.inner(system, u, start)[1].to(start.dtype)
        product = by_head(system.lam.prod(1, keepdim=True), system.heads)[:, 0].to(start.dtype)
        return self.inner(system, u, _merge(start, end, product, self.segments))

    def _lengths(self, u: Tensor) -> list[int]:
        own = torch.tensor([u.shape[1]], device=u.device)
        parts = [torch.empty_like(own) for _ in range(self.segments.count)]
        dist.all_gather(parts, own, group=self.segments.group)
        return [int(part) for part in parts]


def _incoming(
    finals: Sequence[Tensor], lengths: Sequence[int], index: int, system: DiscreteSystem
) -> Tensor:
    """State at the start of segment ``index``, from the zero-state ends of those before it."""
    if index == 0:
        return 0 * finals[0]
    state = finals[0]
    for final, length in zip(finals[1:index], lengths[1:index], strict=True):
        state = final + _advance_by(system, state, length)
    return state


def _advance_by(system: DiscreteSystem, state: Tensor, steps: int) -> Tensor:
    """A^steps x, the power in double precision."""
    wide = to_double(system.dynamics)
    if isinstance(system, DiscreteDiagonal):
        return (power(wide, steps) * state.to(wide.dtype)).to(state.dtype)
    matrix = torch.linalg.matrix_power(wide, steps)
    return torch.einsum("hij,bhj->bhi", matrix, state.to(matrix.dtype)).to(state.dtype)


def linear_scan(
    a: Inexact[Tensor, ...],
    b: Inexact[Tensor, "B l N"],
    x0: Inexact[Tensor, "B N"],
    segments: Segments,
    scan: LinearScan,
) -> Inexact[Tensor, "B l N"]:
    """``s[k] = a s[k-1] + b[k]`` over segments; a is (N,), or this rank's (B, l, N).

    ``scan`` is the backend's; x0 is the state before the first segment. The segment is scanned
    twice: once for its final state, once from its incoming state, so that no state within it is
    computed with a long product of a, which could underflow or overflow.
    """
    start = x0 if segments.index == 0 else 0 * x0
    end = scan(a, b, start)[:, -1]
    product = a.prod(1) if a.ndim == 3 else power(a, b.shape[1]).expand_as(end)
    return scan(a, b, _merge(start, end, product, segments))


def _merge(start: Tensor, end: Tensor, product: Tensor, segments: Segments) -> Tensor:
    """The state before this segment, from each segment's end, scanned from its ``start`` (zero but
    in the first), and the product of its factors."""
    # One exchange, not two: the order of two in the backward could differ between ranks.
    summaries = segments.gather(torch.stack([end, product]))
    state = start + 0 * summaries[0].sum(0)
    for k in range(segments.index):
        end, product = summaries[k]
        state = end if k == 0 else end + product * state
    return state
