"""The layer with a dense matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.scans.dense_states import dense_states
from ssmbench.scans.native.common import contiguous, lanes, precision
from ssmbench.scans.native.library import call, unavailable_reason
from ssmbench.scans.operators import (
    define,
    differentiate,
    differentiate_backward,
    merge,
    one_by_one,
)

#: Sequences that are processed together, and steps of them that are summed together, as in dense.h.
_SEQUENCES, _BLOCK = 4, 16
#: Shares of the sequences with sums of their own, whatever the number of threads: so that it does
#: not change the result.
_MOST_SHARES = 16


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
    transposed matrices, which also sums the gradients of A, B, C and D.
    Differentiable to any order, in forward mode and under ``torch.func`` too. Where the kernels
    were not compiled, in chunks of chunks (:mod:`ssmbench.scans.dense_states`).
    """
    inputs = (u, A, B, C, D, x0)
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    return _layer(*inputs, keep)[:2]


# --- kernels ------------------------------------------------------------------------------------


def _run(
    u: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, x0: Tensor, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    states = _kept(u, A, keep)
    scan = _scan if _compiled_for(u) else _in_torch
    y, final = scan((A, B, C, D), u, x0, states if keep else None)
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
    if _compiled_for(u):
        return _adjoint_and_sums((A.T, C.T, B.T, D.T), u, states, dy, dfinal)
    drives = torch.empty_like(states)
    # the adjoint is the same layer, backwards: each of its steps starts from the gradient of
    # the state that the step leads to, which is that of the step's drive
    du, dx0 = _in_torch((A.T, C.T, B.T, D.T), dy, dfinal, drives, reverse=True)
    return du, *_products(u, states, dy, drives), dx0


def _compiled_for(u: Tensor) -> bool:
    return unavailable_reason() is None and u.is_cpu and u.numel() > 0


def _adjoint_and_sums(
    adjoint: tuple[Tensor, ...], u: Tensor, states: Tensor, dy: Tensor, dfinal: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of u, A, B, C, D and x0 by the kernel, which keeps no drive of every step."""
    padded, width = _columns(*adjoint)
    u, states, dy, dfinal = contiguous(u, states, dy, dfinal)
    batch, length, inputs = u.shape
    size, outputs, vectors = dfinal.shape[1], dy.shape[2], _to_lanes(inputs + dfinal.shape[1], u)
    groups = -(-batch // _SEQUENCES)
    shares, rows = min(groups, _MOST_SHARES), outputs + size
    sums = u.new_zeros(shares, rows, vectors, dtype=torch.float64)
    du, dx0 = torch.empty_like(u), torch.empty_like(dfinal)
    sizes = (shares, batch, length, size, inputs, outputs, width, vectors)
    arguments = (*sizes, padded, u, states, dy, dfinal, du, dx0, sums)
    numbers = _SEQUENCES * (width + _BLOCK * vectors + (_BLOCK + 1) * rows)
    work = batch * length * rows * (width + vectors)
    name = f"dense_layer_backward_{precision(u)}"
    call(name, shares, work, arguments, numbers * u.element_size())
    total = sums.sum(0)[:, : inputs + size].to(u.dtype)
    (dD, dC), (dB, dA) = (part.split((inputs, size), 1) for part in total.split((outputs, size)))
    return du, *(part.clone() for part in (dA, dB, dC, dD)), dx0


def _products(u: Tensor, states: Tensor, dy: Tensor, drives: Tensor) -> tuple[Tensor, ...]:
    """The gradients of A, B, C and D."""
    g, x, dy, u = (t.flatten(0, 1) for t in (drives, states, dy, u))
    return g.T @ x, g.T @ u, dy.T @ x, dy.T @ u


def _scan(
    system: tuple[Tensor, ...], u: Tensor, x0: Tensor, states: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Outputs and last state of (A, B, C, D); ``states`` are filled where given."""
    padded, width = _columns(*system)
    u, x0 = contiguous(u, x0)
    batch, length, inputs = u.shape
    columns, size, outputs = len(padded), x0.shape[1], len(system[2])
    y, end = u.new_empty(batch, length, outputs), torch.empty_like(x0)
    sizes = (batch, length, size, inputs, outputs, width)
    arguments = (*sizes, padded, u, x0, y, states, end)
    scratch = _SEQUENCES * (width + columns) * u.element_size()
    work = batch * length * columns * width
    call(f"dense_layer_forward_{precision(u)}", -(-batch // _SEQUENCES), work, arguments, scratch)
    return y, end


def _columns(A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> tuple[Tensor, int]:
    """The columns of [B A; D C] (m + N, W), as dense.h has them, and their length W."""
    matrix = torch.cat([torch.cat([B, A], 1), torch.cat([D, C], 1)])
    width = _to_lanes(len(matrix), matrix)
    return torch.nn.functional.pad(matrix.T, (0, width - len(matrix))).contiguous(), width


def _to_lanes(count: int, like: Tensor) -> int:
    """The numbers in the vectors that hold ``count``."""
    return -(-count // lanes(like)) * lanes(like)


def _in_torch(
    system: tuple[Tensor, ...],
    u: Tensor,
    x0: Tensor,
    states: Tensor | None,
    *,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """As the kernel, in chunks of chunks; in reverse as its backward pass."""
    A, B, C, D = system
    found = dense_states(A[None], (u @ B.mT)[:, :, None], x0[:, None], reverse=reverse)[:, :, 0]
    before, end = (found[:, 1:], found[:, 0]) if reverse else (found[:, :-1], found[:, -1])
    if states is not None:
        states.copy_(before)
    return before @ C.mT + u @ D.mT, end.clone()


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
_layer = define(
    f"dense_layer({_SYSTEM}, bool keep) -> (Tensor, Tensor, Tensor)",
    _run,
    _outputs,
    reads_values=True,  # without the kernel, as dense_states does
)
_layer_backward = define(
    f"dense_layer_backward({_SYSTEM}, Tensor states, Tensor dy, Tensor dfinal)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _run_backward,
    lambda *inputs: tuple(t.new_empty(t.shape) for t in inputs[:6]),
    reads_values=True,
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
