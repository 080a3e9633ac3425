"""The layer with a dense matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.scans.native.common import contiguous, lanes, precision
from ssmbench.scans.native.library import call, unavailable_reason
from ssmbench.scans.operators import (
    define,
    differentiate,
    differentiate_backward,
    merge,
    one_by_one,
)

#: Sequences that one item processes together, as in dense.h.
_SEQUENCES = 4


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
    transposed matrices; then four matrix products for the gradients of A, B, C and D.
    Differentiable to any order, in forward mode and under ``torch.func`` too. Where the kernels
    were not compiled, step by step.
    """
    inputs = (u, A, B, C, D, x0)
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    return _layer(*inputs, keep)[:2]


# --- kernels ------------------------------------------------------------------------------------


def _run(
    u: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, x0: Tensor, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    states = _kept(u, A, keep)
    y, final = _scan((A, B, C, D), u, x0, states if keep else None, reverse=False)
    return y, final, states


def _kept(u: Tensor, A: Tensor, keep: bool) -> Tensor:
    """Memory for the states before each step; empty where they are not kept."""
    return u.new_empty((*u.shape[:2], A.shape[0]) if keep else (0,))


def _run_backward(
    u: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    x0: Tensor,
    states: Tensor,
    dy: Tensor,
    dfinal: Tensor,
) -> tuple[Tensor, ...]:
    if states.numel() == 0:
        states = _run(u, A, B, C, D, x0, keep=True)[2]
    drives = torch.empty_like(states)
    # the adjoint is the same layer, backwards: each of its steps starts from the gradient of
    # the state that the step leads to, which is that of the step's drive
    du, dx0 = _scan((A.T, C.T, B.T, D.T), dy, dfinal, drives, reverse=True)
    return du, *_products(u, states, dy, drives), dx0


def _products(u: Tensor, states: Tensor, dy: Tensor, drives: Tensor) -> tuple[Tensor, ...]:
    """The gradients of A, B, C and D."""
    g, x, dy, u = (t.flatten(0, 1) for t in (drives, states, dy, u))
    return g.T @ x, g.T @ u, dy.T @ x, dy.T @ u


def _scan(
    system: tuple[Tensor, ...], u: Tensor, x0: Tensor, states: Tensor | None, *, reverse: bool
) -> tuple[Tensor, Tensor]:
    """Outputs and last state of (A, B, C, D); ``states`` are filled where given."""
    A, B, C, D = system
    u, x0 = contiguous(u, x0)
    matrix = torch.cat([torch.cat([B, A], 1), torch.cat([D, C], 1)])  # (N + p, m + N)
    batch, length, inputs = u.shape
    rows, columns, size = *matrix.shape, len(A)
    y, end = u.new_empty(batch, length, rows - size), torch.empty_like(x0)
    if unavailable_reason() or not u.is_cpu or u.numel() == 0:
        return _step_by_step(matrix, u, x0, states, y, reverse)
    width = -(-rows // lanes(u)) * lanes(u)
    padded = torch.nn.functional.pad(matrix.T, (0, width - rows)).contiguous()
    sizes = (batch, length, size, inputs, rows - size, width, int(reverse))
    arguments = (*sizes, padded, u, x0, y, states, end)
    scratch = _SEQUENCES * (width + columns) * u.element_size()
    work = batch * length * columns * width
    call(f"dense_layer_{precision(u)}", -(-batch // _SEQUENCES), work, arguments, scratch)
    return y, end


def _step_by_step(
    matrix: Tensor, u: Tensor, x0: Tensor, states: Tensor | None, y: Tensor, reverse: bool
) -> tuple[Tensor, Tensor]:
    """As the kernel: (x, y) from ``matrix`` times (u, x)."""
    state, size = x0, x0.shape[1]
    steps = range(u.shape[1])
    for k in reversed(steps) if reverse else steps:
        if states is not None:
            states[:, k] = state
        row = torch.cat([u[:, k], state], 1) @ matrix.T
        state, y[:, k] = row[:, :size], row[:, size:]
    return y, state.clone()


# --- by layers whose outputs are their states -----------------------------------------------------


def _adjoint(
    u: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    x0: Tensor,
    states: Tensor,
    dy: Tensor,
    dfinal: Tensor,
) -> tuple[Tensor, ...]:
    x, _ = _states(A, u @ B.T, x0)
    drives, dx0 = _costates(A, dy @ C, dfinal)
    return drives @ B + dy @ D, *_products(u, x, dy, drives), dx0


def _states(A: Tensor, drive: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """``x[k+1] = A x[k] + drive[k]``: x before each step, (B, L, N), and after the last."""
    one = torch.eye(A.shape[0], dtype=A.dtype, device=A.device)
    return dense_layer(drive, A, one, one, torch.zeros_like(one), start)


def _costates(A: Tensor, drive: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """``g[k] = A' g[k+1] + drive[k]``: g after each step, and before the first."""
    after, first = _states(A.T, drive.flip(1), end)
    return after.flip(1), first


def _jvp(saved: tuple, tangents: tuple) -> tuple[Tensor, Tensor]:
    u, A, B, C, D, x0, _ = saved
    tu, tA, tB, tC, tD, tx0 = tangents
    x, _ = _states(A, u @ B.T, x0)
    tx, tfinal = _states(A, x @ tA.T + u @ tB.T + tu @ B.T, tx0)
    return x @ tC.T + tx @ C.T + u @ tD.T + tu @ D.T, tfinal


def _adjoint_jvp(inputs: tuple, tangents: tuple) -> tuple[Tensor, ...]:
    u, A, B, C, D, x0, _, dy, dfinal = inputs
    tu, tA, tB, tC, tD, tx0, _, tdy, tdfinal = tangents
    x, _ = _states(A, u @ B.T, x0)
    tx, _ = _states(A, x @ tA.T + u @ tB.T + tu @ B.T, tx0)
    g, _ = _costates(A, dy @ C, dfinal)
    tg, tdx0 = _costates(A, g @ tA + dy @ tC + tdy @ C, tdfinal)
    tdu = tg @ B + g @ tB + tdy @ D + dy @ tD
    products = zip(_products(u, x, tdy, tg), _products(tu, tx, dy, g), strict=True)
    return tdu, *(one + other for one, other in products), tdx0


# --- the operators ------------------------------------------------------------------------------


def _backward(needs: Sequence[bool], saved: tuple, cotangents: tuple) -> tuple:
    return *_layer_backward(*saved, *cotangents), None


def _outputs(
    u: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, x0: Tensor, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    y = u.new_empty(*u.shape[:2], C.shape[0])
    return y, x0.new_empty(x0.shape), _kept(u, A, keep)


_SYSTEM = "Tensor u, Tensor A, Tensor B, Tensor C, Tensor D, Tensor x0"
_layer = define(f"dense_layer({_SYSTEM}, bool keep) -> (Tensor, Tensor, Tensor)", _run, _outputs)
_layer_backward = define(
    f"dense_layer_backward({_SYSTEM}, Tensor states, Tensor dy, Tensor dfinal)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _run_backward,
    lambda *inputs: tuple(t.new_empty(t.shape) for t in inputs[:6]),
)
differentiate(_layer, _backward, _jvp, lambda inputs, outputs: (*inputs[:6], outputs[2]), [2])
differentiate_backward(_layer_backward, _adjoint, _adjoint_jvp)


def _map(info: Any, mapped: tuple, *inputs: Any) -> tuple:
    """Sequences side by side, or one by one where the systems differ; without kept states."""
    inputs = (*inputs[:6], False)
    if any(dim is not None for dim in mapped[1:5]):
        return one_by_one(_layer, info, mapped, inputs)
    return merge(_layer, info, mapped, inputs, (0, *[None] * 4, 0, None), (0, 0, None))


torch.library.register_vmap(_layer, _map)


def _map_backward(info: Any, mapped: tuple, *inputs: Any) -> tuple:
    """One by one: each element has gradients of its own."""
    inputs = (*inputs[:6], inputs[0].new_empty(0), *inputs[7:])
    mapped = (*mapped[:6], None, *mapped[7:])
    return one_by_one(_layer_backward, info, mapped, inputs)


torch.library.register_vmap(_layer_backward, _map_backward)
