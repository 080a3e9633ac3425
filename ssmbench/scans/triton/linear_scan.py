"""The linear recurrence as a differentiable function over the kernels."""

from __future__ import annotations

import torch
from jaxtyping import Inexact
from torch import Tensor
from torch.autograd.function import once_differentiable

from ssmbench.errors import ShapeError, UsageError
from ssmbench.scans.triton import kernels
from ssmbench.scans.triton.blocks import Blocks, choose, programs


def linear_scan(
    a: Inexact[Tensor, " C"], b: Inexact[Tensor, "B L C"], x0: Inexact[Tensor, "B C"]
) -> Inexact[Tensor, "B L C"]:
    """s (B, L, C) with ``s[:, k] = a s[:, k-1] + b[:, k]`` and ``s[:, -1] = x0``.

    All float32, or all complex64, on one CUDA device (or on the CPU in Triton's interpreter).
    Differentiable once, in a, b and x0: ``g[k] = ds[k] + conj(a) g[k+1]``, ``db = g``,
    ``da = sum g[k] conj(s[k-1])``, ``dx0 = conj(a) g[0]``.

    Raises:
        ShapeError: the shapes or dtypes do not fit.
        UsageError: the tensors are not all on one device that the kernels run on.
    """
    _check(a, b, x0)
    return _LinearScan.apply(a, b, x0)


def _check(a: Tensor, b: Tensor, x0: Tensor) -> None:
    shapes = [tuple(t.shape) for t in (a, b, x0)]
    if b.ndim != 3 or shapes[0] != b.shape[2:] or shapes[2] != (b.shape[0], b.shape[2]):
        raise ShapeError(
            f"linear_scan needs a (C,), b (B, L, C) and x0 (B, C); got {shapes[0]}, {shapes[1]} "
            f"and {shapes[2]}"
        )
    dtypes = {t.dtype for t in (a, b, x0)}
    if dtypes not in ({torch.float32}, {torch.complex64}):
        raise ShapeError(
            f"linear_scan needs a, b and x0 all float32 or all complex64; got {a.dtype}, "
            f"{b.dtype} and {x0.dtype}"
        )
    if len({t.device for t in (a, b, x0)}) > 1 or not (b.is_cuda or kernels.INTERPRETED):
        raise UsageError(
            f"linear_scan needs a, b and x0 on one CUDA device; got {a.device}, {b.device} and "
            f"{x0.device}"
        )


class _LinearScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor, x0: Tensor) -> Tensor:
        batch, _, channels = b.shape
        ctx.blocks = choose(b.is_complex(), batch, channels)
        powers = _powers(a, ctx.blocks.block_t)
        s = _forward(powers, b, x0, ctx.blocks)
        ctx.save_for_backward(a, powers, s, x0)
        return s

    @staticmethod
    @once_differentiable
    def backward(ctx, ds: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        a, powers, s, x0 = ctx.saved_tensors
        if s.numel() == 0:
            return torch.zeros_like(a), torch.zeros_like(s), torch.zeros_like(x0)
        g, tiles = _backward(powers, ds, s if ctx.needs_input_grad[0] else None, ctx.blocks)
        dx0 = a.conj() * g[:, 0]
        return None if tiles is None else _sum_da(tiles, g[:, 0], x0), g, dx0


def _powers(a: Tensor, count: int) -> Tensor:
    """a^1 .. a^count (count, C), each rounded once: formed in double precision, then cast."""
    wide = a.to(torch.complex128 if a.is_complex() else torch.float64)
    return wide.expand(count, -1).cumprod(0).to(a.dtype)


def _sum_da(tiles: Tensor, g0: Tensor, x0: Tensor) -> Tensor:
    """da from its share in every tile, and in step 0; in double precision, for L is long."""
    first = (g0.to(torch.promote_types(g0.dtype, torch.float64)) * x0.conj()).sum(0)
    total = tiles.sum((0, 1), dtype=torch.float64)
    total = torch.view_as_complex(total) if g0.is_complex() else total
    return (total + first).to(g0.dtype)


# --- launches -----------------------------------------------------------------------------------


def _forward(powers: Tensor, b: Tensor, x0: Tensor, blocks: Blocks) -> Tensor:
    batch, length, channels = b.shape
    s = torch.empty_like(b, memory_format=torch.contiguous_format)
    if s.numel() == 0:
        return s
    kernel = kernels.forward_complex_kernel if b.is_complex() else kernels.forward_real_kernel
    tensors = [_parts(t) for t in (powers, b, x0, s)]
    with torch.cuda.device_of(b):
        kernel[(programs(blocks, batch, channels),)](
            *tensors, length, channels, **blocks.constants(), **blocks.options()
        )
    return s


def _backward(
    powers: Tensor, ds: Tensor, s: Tensor | None, blocks: Blocks
) -> tuple[Tensor, Tensor | None]:
    """g like ds, and where s is given da's shares (B, tiles of time, C[, 2]) in float32."""
    batch, length, channels = ds.shape
    g = torch.empty_like(ds, memory_format=torch.contiguous_format)
    parts = _parts(g)
    tiles = None
    if s is not None:
        rows = -(-length // blocks.block_t)
        tiles = torch.empty((batch, rows, *parts.shape[2:]), dtype=parts.dtype, device=g.device)
    kernel = kernels.backward_complex_kernel if g.is_complex() else kernels.backward_real_kernel
    # Without da the kernel touches neither s nor the shares: g stands in for both pointers.
    states, shares = (parts, parts) if s is None else (_parts(s), tiles)
    with torch.cuda.device_of(g):
        kernel[(programs(blocks, batch, channels),)](
            *(_parts(powers), _parts(ds), states, parts, shares, length, channels),
            WITH_DA=s is not None,
            **blocks.constants(),
            **blocks.options(),
        )
    return g, tiles


def _parts(tensor: Tensor) -> Tensor:
    """Contiguous float32 storage; (..., 2) for a complex tensor. A view where that suffices.

    Conjugation and negation that torch only notes down (``conj()``, ``conj().imag``) are carried
    out: a kernel reads the memory and knows nothing of the notes.
    """
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
    return torch.view_as_real(plain) if plain.is_complex() else plain
