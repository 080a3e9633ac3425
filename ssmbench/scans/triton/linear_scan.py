"""The linear recurrence as differentiable operators over the kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Inexact
from torch import Tensor

from ssmbench.errors import ShapeError, UsageError
from ssmbench.scans.operators import define, differentiate, differentiate_backward, merge
from ssmbench.scans.recurrence import adjoint, adjoint_tangents, shifted, tangent
from ssmbench.scans.triton.launch import (
    AdjointOf,
    Way,
    finish_da,
    load_kernels,
    run_scan,
    wide_dtype,
)

_REAL = {torch.float32, torch.bfloat16}


def linear_scan(
    a: Inexact[Tensor, "*BL C"],
    b: Inexact[Tensor, "B L C"],
    x0: Inexact[Tensor, "B C"] | None = None,
    *,
    reverse: bool = False,
) -> Inexact[Tensor, "B L C"]:
    """s (B, L, C) with ``s[:, k] = a[:, k] s[:, k-1] + b[:, k]`` and ``s[:, -1] = x0``.

    ``a`` is (C,), the same at every step, or (B, L, C). With ``reverse`` time runs the other way:
    ``s[:, k] = a[:, k] s[:, k+1] + b[:, k]`` with ``s[:, L] = x0``. x0 is zero where None.

    All complex64, or each float32 or bfloat16 (then s is float32: nothing is computed or kept in
    half precision), on one CUDA device, or on the CPU in Triton's interpreter. Differentiable to
    any order in a, b and x0, and in forward mode: with ``g[k] = ds[k] + conj(a[k+1]) g[k+1]``,
    ``db = g``, ``dx0 = conj(a[0]) g[0]``, ``da[k] = g[k] conj(s[k-1])``, summed where a is (C,).

    Raises:
        ShapeError: the shapes or dtypes do not fit.
        UsageError: the tensors are not all on one device that the kernels run on.
    """
    return _states_after(*_checked(a, b, x0), reverse)


def states_before(
    a: Inexact[Tensor, "*BL C"],
    b: Inexact[Tensor, "B L C"],
    x0: Inexact[Tensor, "B C"] | None = None,
    *,
    reverse: bool = False,
) -> tuple[Inexact[Tensor, "B L C"], Inexact[Tensor, "B C"]]:
    """As ``linear_scan``, but the states before each input, and the state at the end.

    ``x[:, 0] = x0`` and ``x[:, k+1] = a[:, k] x[:, k] + b[:, k]``: x[:, :L] (B, L, C), which an
    output matrix reads, and x[:, L] (B, C). Differentiable in both.
    """
    return _states_before(*_checked(a, b, x0), reverse)


def _checked(a: Tensor, b: Tensor, x0: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    if x0 is None:
        dtype = torch.promote_types(b.dtype, torch.float32)
        x0 = torch.zeros((b.shape[0], b.shape[-1]), dtype=dtype, device=b.device)
    _check(a, b, x0)
    return a, b, x0


def _check(a: Tensor, b: Tensor, x0: Tensor) -> None:
    shapes = [tuple(t.shape) for t in (a, b, x0)]
    fits = b.ndim == 3 and shapes[0] in (shapes[1], shapes[1][2:])
    if not fits or shapes[2] != (b.shape[0], b.shape[2]):
        raise ShapeError(
            f"linear_scan needs a (C,) or (B, L, C), b (B, L, C) and x0 (B, C); got {shapes[0]}, "
            f"{shapes[1]} and {shapes[2]}"
        )
    dtypes = {t.dtype for t in (a, b, x0)}
    if dtypes != {torch.complex64} and not dtypes <= _REAL:
        raise ShapeError(
            f"linear_scan needs a, b and x0 all complex64, or each float32 or bfloat16; got "
            f"{a.dtype}, {b.dtype} and {x0.dtype}"
        )
    if len({t.device for t in (a, b, x0)}) > 1 or not (b.is_cuda or load_kernels().INTERPRETED):
        raise UsageError(
            f"linear_scan needs a, b and x0 on one CUDA device; got {a.device}, {b.device} and "
            f"{x0.device}"
        )


# --- kernels ------------------------------------------------------------------------------------


def _run_after(a: Tensor, b: Tensor, x0: Tensor, reverse: bool) -> Tensor:
    return run_scan(a, b, x0.to(wide_dtype(b)), Way(-1 if reverse else 1, out_shift=0))[0]


def _run_before(a: Tensor, b: Tensor, x0: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    return run_scan(a, b, x0.to(wide_dtype(b)), Way(-1 if reverse else 1))[:2]


def _run_after_backward(
    a: Tensor, x0: Tensor, s: Tensor, ds: Tensor, reverse: bool, with_da: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients in float32 or complex64; that of a is empty where it is not asked for."""
    if s.numel() == 0:
        return _no_gradients(a, x0, s, with_da)
    start = ds[:, 0 if reverse else -1]  # the first step of the adjoint takes none of its own
    return _run_backward(a, x0, s, ds, start, Way(1 if reverse else -1, 1, adjoint=True), with_da)


def _run_before_backward(
    a: Tensor,
    x0: Tensor,
    states: Tensor,
    dstates: Tensor,
    dend: Tensor,
    reverse: bool,
    with_da: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    if states.numel() == 0:
        da, db, _ = _no_gradients(a, x0, states, with_da)
        return da, db, dend.clone()
    way = Way(1 if reverse else -1, adjoint=True)
    return _run_backward(a, x0, states, dstates, dend, way, with_da)


def _run_backward(
    a: Tensor, x0: Tensor, s: Tensor, ds: Tensor, start: Tensor, way: Way, with_da: bool
) -> tuple[Tensor, Tensor, Tensor]:
    of = AdjointOf(s, x0, way.in_shift) if with_da else None
    db, dx0, shares = run_scan(a, ds, start, way, of)
    if of is None or shares is None:
        return s.new_empty(0), db, dx0
    return finish_da(shares, start, of, way, a).to(s.dtype), db, dx0


def _no_gradients(a: Tensor, x0: Tensor, s: Tensor, with_da: bool) -> tuple[Tensor, Tensor, Tensor]:
    da = s.new_zeros(a.shape if with_da else 0)
    return da, s.new_zeros(s.shape), s.new_zeros(x0.shape)


# --- the operators ------------------------------------------------------------------------------


def _recurrence(a: Tensor, b: Tensor, x0: Tensor, *, reverse: bool) -> Tensor:
    return _states_after(a.to(wide_dtype(b)), b, x0, reverse)


def _given(da: Tensor, like: Tensor, with_da: bool) -> Tensor:
    return da if with_da else like.new_empty(0)


def _after_backward(needs: Sequence[bool], saved: tuple, cotangents: tuple) -> tuple:
    a, x0, s, dtype, reverse = saved
    da, db, dx0 = _states_after_backward(a, x0, s, *cotangents, reverse, needs[0])
    return da.to(a.dtype) if needs[0] else None, db.to(dtype), dx0.to(x0.dtype), None


def _after_jvp(saved: tuple, tangents: tuple) -> tuple[Tensor]:
    a, x0, s, _, reverse = saved
    before = shifted(s, x0.to(s.dtype), reverse)
    return (tangent(_recurrence, a, before, reverse, _wide_all(*tangents)),)


def _after_adjoint(
    a: Tensor, x0: Tensor, s: Tensor, ds: Tensor, reverse: bool, with_da: bool
) -> tuple[Tensor, Tensor, Tensor]:
    before = shifted(s, x0.to(s.dtype), reverse)
    da, db, dx0 = adjoint(_recurrence, a.to(s.dtype), before, ds, reverse)
    return _given(da, s, with_da), db, dx0


def _after_adjoint_jvp(inputs: tuple, tangents: tuple) -> tuple[Tensor, Tensor, Tensor]:
    a, x0, s, ds, reverse, with_da = inputs
    ta, tx0, ts, tds = _wide_all(*tangents)
    before, tbefore = shifted(s, x0.to(s.dtype), reverse), shifted(ts, tx0, reverse)
    given = a.to(s.dtype), before, ds, reverse, (ta, tbefore, tds)
    tda, tdb, tdx0 = adjoint_tangents(_recurrence, *given)
    return _given(tda, s, with_da), tdb, tdx0


def _before_backward(needs: Sequence[bool], saved: tuple, cotangents: tuple) -> tuple:
    a, x0, states, dtype, reverse = saved
    da, db, dx0 = _states_before_backward(a, x0, states, *cotangents, reverse, needs[0])
    return da.to(a.dtype) if needs[0] else None, db.to(dtype), dx0.to(x0.dtype), None


def _before_jvp(saved: tuple, tangents: tuple) -> tuple[Tensor, Tensor]:
    a, _, states, _, reverse = saved
    ta, tb, tx0 = _wide_all(*tangents)
    after = tangent(_recurrence, a, states, reverse, (ta, tb, tx0))
    return shifted(after, tx0, reverse), after[:, 0 if reverse else -1]


def _before_adjoint(
    a: Tensor,
    x0: Tensor,
    states: Tensor,
    dstates: Tensor,
    dend: Tensor,
    reverse: bool,
    with_da: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The state after a step is that before the next, or the end."""
    after = shifted(dstates, dend, not reverse)
    da, db, dx0 = adjoint(_recurrence, a.to(states.dtype), states, after, reverse)
    return _given(da, states, with_da), db, dx0 + dstates[:, -1 if reverse else 0]


def _before_adjoint_jvp(inputs: tuple, tangents: tuple) -> tuple[Tensor, Tensor, Tensor]:
    a, _, states, dstates, dend, reverse, with_da = inputs
    ta, _, tstates, tdstates, tdend = _wide_all(*tangents)
    after, tafter = (shifted(*t, not reverse) for t in ((dstates, dend), (tdstates, tdend)))
    given = a.to(states.dtype), states, after, reverse, (ta, tstates, tafter)
    tda, tdb, tdx0 = adjoint_tangents(_recurrence, *given)
    return _given(tda, states, with_da), tdb, tdx0 + tdstates[:, -1 if reverse else 0]


def _wide_all(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(t.to(wide_dtype(t)) for t in tensors)


def _shape_after(a: Tensor, b: Tensor, x0: Tensor, reverse: bool) -> Tensor:
    return b.new_empty(b.shape, dtype=wide_dtype(b))


def _shape_before(a: Tensor, b: Tensor, x0: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    return _shape_after(a, b, x0, reverse), b.new_empty(x0.shape, dtype=wide_dtype(b))


def _shapes_backward(a: Tensor, x0: Tensor, s: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    return s.new_empty(a.shape if rest[-1] else 0), s.new_empty(s.shape), s.new_empty(x0.shape)


_INPUTS, _KEPT = "Tensor a, Tensor b, Tensor x0, bool reverse", "Tensor a, Tensor x0, Tensor states"
_GRADIENTS = "bool reverse, bool with_da) -> (Tensor, Tensor, Tensor)"
_states_after = define(f"triton_linear_scan({_INPUTS}) -> Tensor", _run_after, _shape_after)
_states_after_backward = define(
    f"triton_linear_scan_backward({_KEPT}, Tensor dstates, {_GRADIENTS}",
    _run_after_backward,
    _shapes_backward,
)
_states_before = define(
    f"triton_states_before({_INPUTS}) -> (Tensor, Tensor)", _run_before, _shape_before
)
_states_before_backward = define(
    f"triton_states_before_backward({_KEPT}, Tensor dstates, Tensor dend, {_GRADIENTS}",
    _run_before_backward,
    _shapes_backward,
)


def _saved(inputs: tuple, outputs: tuple) -> tuple:
    a, b, x0, reverse = inputs
    return a, x0, outputs[0], b.dtype, reverse


differentiate(_states_after, _after_backward, _after_jvp, _saved)
differentiate_backward(_states_after_backward, _after_adjoint, _after_adjoint_jvp)
differentiate(_states_before, _before_backward, _before_jvp, _saved)
differentiate_backward(_states_before_backward, _before_adjoint, _before_adjoint_jvp)


def _register_maps(forward: Any, backward: Any, outputs: int, cotangents: int) -> None:
    """Merge the mapped dimension with that of sequences, or of channels where a differs."""
    ends = (1,) * (outputs - 1)

    def mapped_forward(info: Any, mapped: tuple, *inputs: Any) -> tuple:
        constant = inputs[0].ndim - (mapped[0] is not None) == 1
        if constant and mapped[0] is not None:
            return merge(forward, info, mapped, inputs, (0, 2, 1, None), (2, *ends))
        axes = (None if constant else 0, 0, 0, None)
        return merge(forward, info, mapped, inputs, axes, (0,) * outputs)

    def mapped_backward(info: Any, mapped: tuple, *inputs: Any) -> tuple:
        constant = inputs[0].ndim - (mapped[0] is not None) == 1
        axes = (0, 1, 2, *((2, 1)[:cotangents])) if constant else (0,) * (3 + cotangents)
        to = (0, 2, 1) if constant else (0, 0, 0)
        to = to if inputs[-1] else (None, *to[1:])
        return merge(backward, info, mapped, inputs, (*axes, None, None), to)

    torch.library.register_vmap(forward, mapped_forward)
    torch.library.register_vmap(backward, mapped_backward)


_register_maps(_states_after, _states_after_backward, 1, 1)
_register_maps(_states_before, _states_before_backward, 2, 2)
