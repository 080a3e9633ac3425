"""The first-order recurrence with every state written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Inexact
from torch import Tensor

from ssmbench.linalg.precision import double_dtype
from ssmbench.scans.base import sequential_linear_scan
from ssmbench.scans.native.common import VECTOR_BYTES, contiguous, precision
from ssmbench.scans.native.library import call, unavailable_reason
from ssmbench.scans.operators import define, differentiate, differentiate_backward, merge
from ssmbench.scans.recurrence import adjoint, adjoint_tangents, shifted, tangent

#: Vectors of one item, as in linear_scan.h.
_GROUP = 4


def linear_scan(
    a: Inexact[Tensor, ...],
    b: Inexact[Tensor, "B L N"],
    x0: Inexact[Tensor, "B N"] | None = None,
    *,
    reverse: bool = False,
) -> Inexact[Tensor, "B L N"]:
    """``s[k] = a s[k-1] + b[k]`` with every state written; a is (N,), or (B, L, N) where it varies.

    In reverse, ``s[k] = a[k] s[k+1] + b[k]``. All of one dtype: real or complex, single or double.
    Differentiable to any order, in forward mode and under ``torch.func`` too. Where the kernels
    were not compiled, step by step.
    """
    start = b.new_zeros(b.shape[0], b.shape[2]) if x0 is None else x0
    return _scan(a, b, start, reverse)


# --- kernels ------------------------------------------------------------------------------------


def _run(a: Tensor, b: Tensor, x0: Tensor, reverse: bool) -> Tensor:
    a, b, x0 = contiguous(a, b, x0)
    s = torch.empty_like(b)
    if b.numel() == 0:
        return s
    if unavailable_reason() or not b.is_cpu:
        return sequential_linear_scan(a, b, x0, reverse=reverse)
    _call("linear_scan", b, (*b.shape[1:], int(a.ndim == 3), int(reverse), a, b, x0, s))
    return s


def _run_backward(
    a: Tensor, x0: Tensor, s: Tensor, ds: Tensor, reverse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    if s.numel() == 0:
        da, db, dx0 = (
            torch.zeros_like(x, memory_format=torch.contiguous_format) for x in (a, s, x0)
        )
        return da, db, dx0
    if unavailable_reason() or not s.is_cpu:
        da, db, dx0 = (x.clone() for x in _adjoint(a, x0, s, ds, reverse))
        return da, db, dx0
    a, x0, s, ds = contiguous(a, x0, s, ds)
    batch, length, states = s.shape
    db, dx0, varies = torch.empty_like(s), torch.empty_like(x0), a.ndim == 3
    given = (length, states, int(varies), int(reverse), a, x0, s)
    if varies:
        da = torch.empty_like(a)
        _call("linear_scan_backward", s, (*given, ds, db, dx0, None, da))
        return da, db, dx0
    sums = s.new_empty(batch, states, dtype=double_dtype(s))
    _call("linear_scan_backward", s, (*given, ds, db, dx0, sums, None))
    return sums.sum(0).to(a.dtype), db, dx0


def _call(name: str, b: Tensor, arguments: tuple) -> None:
    parts = 2 if b.is_complex() else 1
    block = _GROUP * VECTOR_BYTES * parts // b.element_size()  # numbers of an item
    items = b.shape[0] * -(-b.shape[2] * parts // block)
    kind = "complex" if b.is_complex() else "real"
    call(f"{name}_{kind}_{precision(b)}", items, 8 * b.numel(), arguments)


# --- the operators ------------------------------------------------------------------------------


def _adjoint(
    a: Tensor, x0: Tensor, s: Tensor, ds: Tensor, reverse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return adjoint(linear_scan, a, shifted(s, x0, reverse), ds, reverse)


def _backward(needs: Sequence[bool], saved: tuple, cotangents: tuple) -> tuple:
    a, x0, s, reverse = saved
    return *_scan_backward(a, x0, s, *cotangents, reverse), None


def _jvp(saved: tuple, tangents: tuple) -> tuple[Tensor]:
    a, x0, s, reverse = saved
    return (tangent(linear_scan, a, shifted(s, x0, reverse), reverse, tangents),)


def _adjoint_jvp(inputs: tuple, tangents: tuple) -> tuple[Tensor, Tensor, Tensor]:
    a, x0, s, ds, reverse = inputs
    ta, tx0, ts, tds = tangents
    states = shifted(s, x0, reverse), ds, reverse
    given = ta, shifted(ts, tx0, reverse), tds
    return adjoint_tangents(linear_scan, a, *states, given)


def _like(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(t.new_empty(t.shape) for t in tensors)


_scan = define(
    "linear_scan(Tensor a, Tensor b, Tensor x0, bool reverse) -> Tensor",
    _run,
    lambda a, b, x0, reverse: b.new_empty(b.shape),
)
_scan_backward = define(
    "linear_scan_backward(Tensor a, Tensor x0, Tensor s, Tensor ds, bool reverse)"
    " -> (Tensor, Tensor, Tensor)",
    _run_backward,
    lambda a, x0, s, ds, reverse: _like(a, s, x0),
)
differentiate(_scan, _backward, _jvp, lambda inputs, s: (inputs[0], inputs[2], *s, inputs[3]))
differentiate_backward(_scan_backward, _adjoint, _adjoint_jvp)


def _map(info: Any, mapped: tuple, *inputs: Any) -> tuple:
    constant = inputs[0].ndim - (mapped[0] is not None) == 1
    if constant and mapped[0] is not None:
        return merge(_scan, info, mapped, inputs, (0, 2, 1, None), (2,))
    return merge(_scan, info, mapped, inputs, (None if constant else 0, 0, 0, None), (0,))


torch.library.register_vmap(_scan, _map)


def _map_backward(info: Any, mapped: tuple, *inputs: Any) -> tuple:
    """A constant a has a gradient for each element."""
    constant = inputs[0].ndim - (mapped[0] is not None) == 1
    axes = (0, 1, 2, 2, None) if constant else (0, 0, 0, 0, None)
    return merge(_scan_backward, info, mapped, inputs, axes, (0, 2, 1) if constant else (0, 0, 0))


torch.library.register_vmap(_scan_backward, _map_backward)
