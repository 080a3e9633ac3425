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
#: Sequences that the dense layer takes at once, as in dense.h.
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

    All of one dtype, float32 or float64. One pass over time, and in the backward another, with the
    transposed matrices; then four products of matrices for the gradients of A, B, C and D.
    """
    return _DenseLayer.apply(u.contiguous(), A, B, C, D, x0.contiguous())


class _DenseLayer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        u, A, B, C, D, x0 = inputs
        states = u.new_empty(*u.shape[:2], len(A)) if any(ctx.needs_input_grad) else None
        y, final = _run_dense((A, B, C, D), u, x0, states, reverse=False)
        ctx.save_for_backward(u, A, B, C, D, states)
        return y, final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, dfinal: Tensor) -> tuple[Tensor, ...]:
        u, A, B, C, D, states = ctx.saved_tensors
        dy, drives = dy.contiguous(), torch.empty_like(states)
        # the adjoint is the same layer, backwards: each of its steps starts from the gradient of
        # the state that the step leads to, which is that of the step's drive
        adjoint = (A.T, C.T, B.T, D.T)
        du, dx0 = _run_dense(adjoint, dy, dfinal.contiguous(), drives, reverse=True)
        g, x, dy, u = (t.flatten(0, 1) for t in (drives, states, dy, u))
        return du, g.T @ x, g.T @ u, dy.T @ x, dy.T @ u, dx0


def _run_dense(
    system: tuple[Tensor, ...], u: Tensor, x0: Tensor, states: Tensor | None, *, reverse: bool
) -> tuple[Tensor, Tensor]:
    """Outputs and last state of (A, B, C, D); ``states`` are filled where given."""
    A, B, C, D = system
    matrix = torch.cat([torch.cat([B, A], 1), torch.cat([D, C], 1)])  # (N + p, m + N)
    batch, length, inputs = u.shape
    rows, columns, size = *matrix.shape, len(A)
    width = -(-rows // lanes(u)) * lanes(u)
    padded = torch.nn.functional.pad(matrix.T, (0, width - rows)).contiguous()
    y, end = u.new_empty(batch, length, rows - size), torch.empty_like(x0)
    sizes = (batch, length, size, inputs, rows - size, width, int(reverse))
    arguments = (*sizes, padded, u, x0, y, states, end)
    scratch = _DENSE_SEQUENCES * (width + columns) * u.element_size()
    work = batch * length * columns * width
    call(f"dense_layer_{_precision(u)}", -(-batch // _DENSE_SEQUENCES), work, arguments, scratch)
    return y, end


def _precision(tensor: Tensor) -> str:
    return "double" if tensor.dtype in (torch.float64, torch.complex128) else "float"
