"""Launching the kernels of the linear recurrence: phases over chunks of time, and its adjoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Inexact
from torch import Tensor

from ssmbench.scans.triton.blocks import Plan, choose, is_aligned, narrow_plan, programs


def load_kernels() -> Any:
    """The module that needs Triton, imported once something is to be run."""
    from ssmbench.scans.triton import kernels

    return kernels


@dataclass(frozen=True)
class Way:
    """Direction of a scan through memory, and its shifts: see ``kernels``."""

    direction: int
    in_shift: int = 0
    out_shift: int = 1
    adjoint: bool = False


@dataclass(frozen=True)
class AdjointOf:
    """The scan whose adjoint gives da: its states as written, its x0, and their shift."""

    states: Tensor
    x0: Tensor
    state_shift: int


def finish_da(shares: Tensor, start: Tensor, of: AdjointOf, way: Way, a: Tensor) -> Tensor:
    """da from the kernel's part and that of the adjoint's first step, which the kernel leaves out.

    Over a long signal the shares are summed in double precision.
    """
    length = of.states.shape[1]
    step = of.state_shift if way.direction > 0 else length - 1 - of.state_shift
    before = of.x0 if length == of.state_shift else of.states[:, step]
    if a.ndim == 3:
        shares[:, 0 if way.direction > 0 else -1] = start * before.conj()
        return shares
    first = (start.to(torch.promote_types(start.dtype, torch.float64)) * before.conj()).sum(0)
    total = kernel_view(shares).sum((0, 1), dtype=torch.float64)
    return (torch.view_as_complex(total) if shares.is_complex() else total) + first


# --- phases -------------------------------------------------------------------------------------


def run_scan(
    a: Tensor, b: Tensor, start: Tensor, way: Way, of: AdjointOf | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Rows of states, the state at the end, and da (or its shares, (B, tiles of time, C))."""
    batch, length, channels = b.shape
    if b.numel() == 0:
        return torch.empty(b.shape, dtype=start.dtype, device=b.device), start.clone(), None
    plan = choose(b.is_complex(), batch, length, channels)
    varying = a.ndim == 3
    if varying and a.dtype != b.dtype:  # kernels are compiled for both float32 or both bfloat16
        a, b = a.to(wide_dtype(a)), b.to(wide_dtype(b))
    table = a if varying else powers(a.conj() if way.adjoint else a, plan.blocks.block_t)
    starts = start[:, None]
    if plan.chunks > 1:
        ends, products = _launch_ends(table, varying, b, way, plan)
        starts = _chunk_starts(a, ends, products, start, way, plan)
    return _launch(table, varying, b, starts, way, plan, of)


def _chunk_starts(
    a: Tensor, ends: Tensor, products: Tensor | None, start: Tensor, way: Way, plan: Plan
) -> Tensor:
    """The state before every chunk (B, chunks, C), from the states at their ends from zero."""
    rows = narrow_plan(ends.is_complex(), ends.shape[1])
    if products is None:
        products = powers(a.conj() if way.adjoint else a, rows.blocks.block_t, plan.chunk)
    forward = Way(direction=1)  # chunks are numbered the way the scan runs
    return _launch(products, products.ndim == 3, ends, start[:, None], forward, rows, guard=True)[0]


def scan_chunk_ends(
    a: Inexact[Tensor, " C"], ends: Inexact[Tensor, "B chunks C"], chunk: int
) -> Inexact[Tensor, "B chunks C"]:
    """The state before every chunk, from zero, for chunks of ``chunk`` steps with dynamics a.

    The second phase of a chunked scan; not differentiable.
    """
    rows = narrow_plan(ends.is_complex(), ends.shape[1])
    start = ends.new_zeros(ends.shape[0], 1, ends.shape[2])
    table = powers(a, rows.blocks.block_t, chunk)
    return _launch(table, False, ends, start, Way(direction=1), rows, guard=True)[0]


def powers(a: Tensor, count: int, step: int = 1) -> Tensor:
    """a^step, a^(2 step) .. (count, *a.shape), each rounded once, for they are formed in double."""
    if not a.is_complex():
        wide = a.double() ** step
    elif step == 1:
        wide = a.to(torch.complex128)
    else:
        wide = a.to(torch.complex128)
        wide = torch.polar(wide.abs() ** step, wide.angle() * step)
    return wide.expand(count, *wide.shape).cumprod(0).to(wide_dtype(a))


# --- launches -----------------------------------------------------------------------------------


def _launch(
    table: Tensor,
    varying: bool,
    b: Tensor,
    starts: Tensor,
    way: Way,
    plan: Plan,
    of: AdjointOf | None = None,
    guard: bool = False,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The states, the one at the end, and da or its shares where ``of`` is given."""
    batch, length, channels = b.shape
    like = {"dtype": wide_dtype(b), "device": b.device}
    out, end = torch.empty(b.shape, **like), torch.empty((batch, channels), **like)
    # Without da the kernel reads none of the last three: out is passed in their place.
    da, adjoint = None, (out, out, out)
    if of is not None:
        rows = length if varying else -(-length // plan.blocks.block_t)
        da = torch.empty((batch, rows, channels), **like)
        adjoint = (of.states, of.x0.to(out.dtype), da)
    pointers = (table, b, starts, out, end, out, *adjoint)
    flags = {"VARYING": varying, "STATES": True, "WITH_DA": of is not None, "GUARD": guard}
    state_shift = 0 if of is None else of.state_shift
    _run(pointers, flags, b, way, plan, state_shift)
    return out, end, da


def _launch_ends(
    table: Tensor, varying: bool, b: Tensor, way: Way, plan: Plan
) -> tuple[Tensor, Tensor | None]:
    """The state at the end of every chunk, from zero, and the product of a over it if it varies."""
    shape = (b.shape[0], plan.chunks, b.shape[2])
    ends = torch.empty(shape, dtype=wide_dtype(b), device=b.device)
    products = torch.empty_like(ends) if varying else None
    unused = ends
    pointers = (table, b, unused, unused, ends, ends if products is None else products)
    flags = {"VARYING": varying, "STATES": False, "WITH_DA": False, "GUARD": False}
    _run((*pointers, unused, unused, unused), flags, b, way, plan)
    return ends, products


def _run(
    pointers: tuple[Tensor, ...],
    flags: dict[str, bool],
    b: Tensor,
    way: Way,
    plan: Plan,
    state_shift: int = 0,
) -> None:
    batch, length, channels = b.shape
    aligned = is_aligned(channels) and not flags["GUARD"]  # not worth one more compilation
    sign = ((-1.0 if way.adjoint else 1.0),) if b.is_complex() else ()
    kernels = load_kernels()
    kernel = kernels.scan_complex_kernel if b.is_complex() else kernels.scan_real_kernel
    with torch.cuda.device_of(b):
        kernel[(programs(plan.blocks, batch, channels) * plan.chunks,)](
            *map(kernel_view, pointers),
            *sign,
            length,
            channels // 16 if aligned else channels,
            plan.chunk,
            plan.chunks,
            way.direction,
            way.in_shift,
            way.out_shift,
            state_shift,
            ALIGNED=aligned,
            **flags,
            **plan.blocks.constants(),
            **plan.blocks.options(),
        )


def kernel_view(tensor: Tensor) -> Tensor:
    """Contiguous memory for a kernel, of real numbers: (..., 2) for a complex tensor.

    A view where that suffices. Lazy conjugation and negation (``conj()``, ``conj().imag``) are
    resolved, since a kernel reads the memory as it is. A view that does not start at a multiple of
    16 bytes is copied: the kernels are compiled for such addresses only.
    """
    plain = tensor.detach() if tensor.requires_grad else tensor
    if plain.is_conj() or plain.is_neg():  # each of these is an operation, and costs host time
        plain = plain.resolve_conj().resolve_neg()
    plain = plain if plain.is_contiguous() else plain.contiguous()
    if plain.data_ptr() % 16:
        plain = plain.clone()
    return torch.view_as_real(plain) if plain.is_complex() else plain


def wide_dtype(tensor: Tensor) -> torch.dtype:
    """float32 or complex64."""
    return torch.complex64 if tensor.is_complex() else torch.float32
