"""The native kernels as differentiable operations."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Complex, Float, Inexact
from torch import Tensor
from torch.autograd.function import once_differentiable

from ssmbench.scans.native.library import call

#: Time steps between saved states, as in fused.h.
_STEPS = 64
_VECTOR_BYTES = 64
#: Vectors of one item of the linear scan, as in linear_scan.h.
_GROUP = 4
#: Vectors of rows, and sequences, that the dense scan takes at once, as in dense.h.
_DENSE_ROWS = 4
_DENSE_SEQUENCES = 4


def lanes(u: Tensor) -> int:
    """Channels that the fused layer takes side by side in the precision of ``u``."""
    return _VECTOR_BYTES // u.element_size()


def fused_layer(
    u: Float[Tensor, "B L H"],
    lam: Complex[Tensor, "H N"],
    B: Complex[Tensor, "H N"],
    C: Complex[Tensor, "H N"],
    D: Float[Tensor, " H"],
    x0: Complex[Tensor, "B H N"] | None = None,
) -> tuple[Float[Tensor, "B L H"], Complex[Tensor, "B H N"]]:
    """``y[k] = Re(C x[k]) + D u[k]``, ``x[k+1] = lam x[k] + B u[k]``, and the final state x[L].

    A bank of H single-channel systems; states are not written. All in one precision, float32 or
    float64. Sums over time and batch in the gradients are accumulated in double precision.
    """
    start = None if x0 is None else x0.contiguous()
    parts = (tensor.contiguous() for tensor in (u, lam, B, C, D))
    return _FusedLayer.apply(*parts, start)


class _FusedLayer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor | None) -> tuple[Tensor, Tensor]:
        u, lam, B, C, D, x0 = inputs
        batch, length, channels = u.shape
        states = lam.shape[1]
        y, final = torch.empty_like(u), lam.new_empty(batch, channels, states)
        shape = (_fused_items(u), -(-length // _STEPS), states, 2, lanes(u))
        starts = u.new_empty(shape) if any(ctx.needs_input_grad) else None
        arguments = (length, channels, states, u, lam, B, C, D, x0, y, final, starts)
        _call_fused("fused_forward", u, states, 8, arguments)
        ctx.save_for_backward(u, lam, B, C, D, starts)
        return y, final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, dfinal: Tensor) -> tuple[Tensor | None, ...]:
        u, lam, B, C, D, starts = ctx.saved_tensors
        batch, length, channels = u.shape
        states = lam.shape[1]
        du, dx0 = torch.empty_like(u), lam.new_empty(batch, channels, states)
        sums = u.new_empty(batch, channels, states, 6, dtype=torch.float64)
        dD = u.new_empty(batch, channels, dtype=torch.float64)
        given = (length, channels, states, u, lam, B, C, D, starts)
        arguments = (*given, dy.contiguous(), dfinal.contiguous(), du, sums, dD, dx0)
        _call_fused("fused_backward", u, states, 24, arguments)
        pairs = torch.view_as_complex(sums.sum(0).unflatten(-1, (3, 2))).to(lam.dtype)
        start = dx0 if ctx.needs_input_grad[5] else None
        return (du, *pairs.unbind(-1), dD.sum(0).to(D.dtype), start)


def _fused_items(u: Tensor) -> int:
    return u.shape[0] * -(-u.shape[2] // lanes(u))


def _call_fused(name: str, u: Tensor, states: int, cost: int, arguments: tuple) -> None:
    # states or adjoints (2 vectors a mode) and modes (6); in double, their carries (2), powers of
    # lam (2) and sums (6, and one for D)
    scratch = _VECTOR_BYTES * 8 * states + 8 * lanes(u) * (10 * states + 1)
    work = cost * u.numel() * states
    call(f"{name}_{_precision(u)}", _fused_items(u), work, arguments, scratch)


def linear_scan(
    a: Inexact[Tensor, ...],
    b: Inexact[Tensor, "B L N"],
    x0: Inexact[Tensor, "B N"] | None = None,
    *,
    reverse: bool = False,
) -> Inexact[Tensor, "B L N"]:
    """``s[k] = a s[k-1] + b[k]`` with every state written; a is (N,), or (B, L, N) where it varies.

    In reverse, ``s[k] = a[k] s[k+1] + b[k]``. All of one dtype: real or complex, single or double.
    """
    start = b.new_zeros(b.shape[0], b.shape[2]) if x0 is None else x0
    return _LinearScan.apply(a.contiguous(), b.contiguous(), start.contiguous(), reverse)


class _LinearScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, x0: Tensor, reverse: bool) -> Tensor:
        _, length, states = b.shape
        s = torch.empty_like(b)
        arguments = (length, states, int(a.ndim == 3), int(reverse), a, b, x0, s)
        _call_linear("linear_scan", b, arguments)
        ctx.reverse = reverse
        ctx.save_for_backward(a, x0, s)
        return s

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, ds: Tensor) -> tuple[Tensor | None, ...]:
        a, x0, s = ctx.saved_tensors
        batch, length, states = s.shape
        db, dx0, varies = torch.empty_like(s), torch.empty_like(x0), a.ndim == 3
        da = torch.empty_like(a) if varies else None
        double = torch.complex128 if s.is_complex() else torch.float64
        sums = None if varies else s.new_empty(batch, states, dtype=double)
        given = (length, states, int(varies), int(ctx.reverse), a, x0, s)
        arguments = (*given, ds.contiguous().resolve_conj(), db, dx0, sums, da)
        _call_linear("linear_scan_backward", s, arguments)
        return (da if varies else sums.sum(0).to(a.dtype)), db, dx0, None


def _call_linear(name: str, b: Tensor, arguments: tuple) -> None:
    parts = 2 if b.is_complex() else 1
    block = _GROUP * _VECTOR_BYTES * parts // b.element_size()  # numbers of an item
    items = b.shape[0] * -(-b.shape[2] * parts // block)
    kind = "complex" if b.is_complex() else "real"
    call(f"{name}_{kind}_{_precision(b)}", items, 8 * b.numel(), arguments)


def dense_layer(
    u: Float[Tensor, "B L m"],
    A: Float[Tensor, "N N"],
    B: Float[Tensor, "N m"],
    C: Float[Tensor, "p N"],
    D: Float[Tensor, "p m"],
    x0: Float[Tensor, "B N"],
) -> tuple[Float[Tensor, "B L p"], Float[Tensor, "B N"]]:
    """``y[k] = C x[k] + D u[k]``, ``x[k+1] = A x[k] + B u[k]``, and the final state x[L].

    All of one dtype, float32 or float64. The states before every step are written, over B u, and
    kept for the backward: besides ten products of matrices nothing passes over the sequence.
    """
    return _DenseLayer.apply(u.contiguous(), A, B, C, D, x0.contiguous())


class _DenseLayer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        u, A, B, C, D, x0 = inputs
        rows = u.flatten(0, 1)  # (B L, m)
        states, final = _run_dense(A, (rows @ B.T).view(*u.shape[:2], -1), x0, reverse=False)
        y = (states.flatten(0, 1) @ C.T).addmm_(rows, D.T)
        ctx.save_for_backward(u, A, B, C, D, states)
        return y.view(*u.shape[:2], -1), final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, dfinal: Tensor) -> tuple[Tensor | None, ...]:
        u, A, B, C, D, states = ctx.saved_tensors
        dy, rows, x = dy.contiguous().flatten(0, 1), u.flatten(0, 1), states.flatten(0, 1)
        # the adjoint is the same recurrence, backwards, with A': each state's, then, shifted by
        # one step as the states are, each drive's
        adjoint = (dy @ C).view_as(states)
        drives, dx0 = _run_dense(A.T, adjoint, dfinal.contiguous(), reverse=True)
        g = drives.flatten(0, 1)
        du = (g @ B).addmm_(dy, D).view_as(u) if ctx.needs_input_grad[0] else None
        return du, g.T @ x, g.T @ rows, dy.T @ x, dy.T @ rows, dx0


def _run_dense(A: Tensor, v: Tensor, x0: Tensor, *, reverse: bool) -> tuple[Tensor, Tensor]:
    """The states before every step, written over the drives v (B, L, N), and the one at the end."""
    batch, length, states = v.shape
    block = _DENSE_ROWS * lanes(v)
    width = -(-states // block) * block
    columns = torch.nn.functional.pad(A.T, (0, width - states)).contiguous()
    end = torch.empty_like(x0)
    items = -(-batch // _DENSE_SEQUENCES)
    arguments = (batch, length, states, width, int(reverse), columns, v, x0, v, end)
    scratch = 2 * _DENSE_SEQUENCES * width * v.element_size()
    work = v.numel() * width
    call(f"dense_scan_{_precision(v)}", items, work, arguments, scratch)
    return v, end


def _precision(tensor: Tensor) -> str:
    return "double" if tensor.dtype in (torch.float64, torch.complex128) else "float"
