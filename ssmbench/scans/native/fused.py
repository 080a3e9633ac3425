"""A bank of single-channel diagonal systems, whose states are not written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from ssmbench.scans.native.common import VECTOR_BYTES, contiguous, lanes, precision
from ssmbench.scans.native.library import call
from ssmbench.scans.native.linear_scan import linear_scan
from ssmbench.scans.operators import define, differentiate, differentiate_backward, merge
from ssmbench.scans.recurrence import shifted

#: Time steps between saved states, as in fused.h.
_STEPS = 64


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
    Differentiable to any order, in forward mode and under ``torch.func`` too.
    """
    inputs = (u, lam, B, C, D, x0)
    keep = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs)
    return _layer(*inputs, keep)[:2]


# --- kernels ------------------------------------------------------------------------------------


def _run(
    u: Tensor, lam: Tensor, B: Tensor, C: Tensor, D: Tensor, x0: Tensor | None, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    u, lam, B, C, D = contiguous(u, lam, B, C, D)
    x0 = None if x0 is None else x0.contiguous()
    y, final, starts = _outputs(u, lam, B, C, D, x0, keep)
    states = lam.shape[1]
    arguments = (*u.shape[1:], states, u, lam, B, C, D, x0, y, final, starts if keep else None)
    _call("fused_forward", u, states, 8, arguments)
    return y, final, starts


def _outputs(
    u: Tensor, lam: Tensor, B: Tensor, C: Tensor, D: Tensor, x0: Tensor | None, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """y, the final state, and the states at the starts of chunks where they are kept; not filled.

    They lie as the backward kernel reads them, (items, chunks, N, 2, lanes), flattened.
    """
    batch, length, _ = u.shape
    size = _items(u) * -(-length // _STEPS) * lam.shape[1] * 2 * lanes(u) if keep else 0
    return u.new_empty(u.shape), lam.new_empty(batch, *lam.shape), u.new_empty(size)


def _run_backward(
    u: Tensor,
    lam: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    x0: Tensor | None,
    starts: Tensor,
    dy: Tensor,
    dfinal: Tensor,
) -> tuple[Tensor, ...]:
    if starts.numel() == 0:
        starts = _run(u, lam, B, C, D, x0, keep=True)[2]
    u, lam, B, C, D, starts, dy, dfinal = contiguous(u, lam, B, C, D, starts, dy, dfinal)
    (batch, length, channels), states = u.shape, lam.shape[1]
    du, dx0 = torch.empty_like(u), lam.new_empty(batch, channels, states)
    sums = u.new_empty(batch, channels, states, 6, dtype=torch.float64)
    dD = u.new_empty(batch, channels, dtype=torch.float64)
    given = (length, channels, states, u, lam, B, C, D, starts, dy, dfinal)
    _call("fused_backward", u, states, 24, (*given, du, sums, dD, dx0))
    total = torch.view_as_complex(sums.sum(0).unflatten(-1, (3, 2))).to(lam.dtype)
    return du, *(x.contiguous() for x in total.unbind(-1)), dD.sum(0).to(D.dtype), dx0


def _items(u: Tensor) -> int | torch.SymInt:
    return u.shape[0] * -(-u.shape[2] // lanes(u))


def _call(name: str, u: Tensor, states: int, cost: int, arguments: tuple) -> None:
    if u.numel() == 0:
        raise ValueError("the fused layer needs a signal that is not empty")
    # states or adjoints (2 vectors a mode) and modes (6); in double, their carries (2), powers of
    # lam (2) and sums (6, and one for D)
    scratch = VECTOR_BYTES * 8 * states + 8 * lanes(u) * (10 * states + 1)
    work = cost * u.numel() * states
    call(f"{name}_{precision(u)}", int(_items(u)), work, arguments, scratch)


# --- by scans that write every state --------------------------------------------------------------


def _adjoint(
    u: Tensor,
    lam: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    x0: Tensor | None,
    starts: Tensor,
    dy: Tensor,
    dfinal: Tensor,
) -> tuple[Tensor, ...]:
    before, _ = _states(lam, B * u[..., None], _start(u, lam, x0))
    dbefore, dafter = _costates(lam, C.conj() * dy[..., None], dfinal)
    du = D * dy + (B.conj() * dafter).sum(-1).real
    return du, *_sums(u, before, dy, dafter), dbefore[:, 0]


def _sums(u: Tensor, before: Tensor, dy: Tensor, dafter: Tensor) -> tuple[Tensor, ...]:
    """The gradients of lam, B, C and D: linear in (dy, dafter) and in (u, conj(before))."""
    dlam = (dafter * before.conj()).sum((0, 1))
    dB = (dafter * u[..., None]).sum((0, 1))
    dC = (dy[..., None] * before.conj()).sum((0, 1))
    return dlam, dB, dC, (dy * u).sum((0, 1))


def _start(u: Tensor, lam: Tensor, x0: Tensor | None) -> Tensor:
    return lam.new_zeros(u.shape[0], *lam.shape) if x0 is None else x0


def _states(lam: Tensor, drive: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """``x[k+1] = lam x[k] + drive[k]``: x before each step and after it, both (B, L, H, N)."""
    after = _scan(lam, drive, start, reverse=False)
    return shifted(after, start, reverse=False), after


def _costates(lam: Tensor, drive: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """``g[k] = conj(lam) g[k+1] + drive[k]``: g before each step and after it."""
    before = _scan(lam.conj(), drive, end, reverse=True)
    return before, shifted(before, end, reverse=True)


def _scan(
    lam: Tensor, drive: Tensor, start: Tensor, *, reverse: bool
) -> Complex[Tensor, "B L H N"]:
    flat = linear_scan(lam.flatten(), drive.flatten(2), start.flatten(1), reverse=reverse)
    return flat.unflatten(-1, lam.shape)


def _jvp(saved: tuple, tangents: tuple) -> tuple[Tensor, Tensor]:
    u, lam, B, C, D, x0, _ = saved
    tu, _, _, tC, tD, *_ = tangents
    before, tbefore, tafter = _states_jvp(u, lam, B, x0, tangents)
    ty = (tC * before + C * tbefore).sum(-1).real + tD * u + D * tu
    return ty, tafter[:, -1]


def _states_jvp(
    u: Tensor, lam: Tensor, B: Tensor, x0: Tensor | None, tangents: tuple
) -> tuple[Tensor, Tensor, Tensor]:
    """States before each step, and tangents of states before and after."""
    tu, tlam, tB, _, _, *tstart = tangents
    tstart = _start(u, lam, tstart[0] if x0 is not None else None)
    before, _ = _states(lam, B * u[..., None], _start(u, lam, x0))
    tdrive = tB * u[..., None] + B * tu[..., None]
    return before, *_states(lam, tlam * before + tdrive, tstart)


def _adjoint_jvp(inputs: tuple, tangents: tuple) -> tuple[Tensor, ...]:
    u, lam, B, C, D, x0, _, dy, dfinal = inputs
    tu, tlam, tB, tC, tD, *_, tdy, tdfinal = tangents
    before, tbefore, _ = _states_jvp(u, lam, B, x0, tangents)
    _, dafter = _costates(lam, C.conj() * dy[..., None], dfinal)
    tdrive = tC.conj() * dy[..., None] + C.conj() * tdy[..., None]
    tdbefore, tdafter = _costates(lam, tlam.conj() * dafter + tdrive, tdfinal)
    tdu = tD * dy + D * tdy + (tB.conj() * dafter + B.conj() * tdafter).sum(-1).real
    sums = zip(_sums(u, before, tdy, tdafter), _sums(tu, tbefore, dy, dafter), strict=True)
    return tdu, *(one + other for one, other in sums), tdbefore[:, 0]


# --- the operators ------------------------------------------------------------------------------


def _backward(needs: Sequence[bool], saved: tuple, cotangents: tuple) -> tuple:
    *gradients, dx0 = _layer_backward(*saved, *cotangents)
    return *gradients, None if saved[5] is None else dx0, None


def _gradients(u: Tensor, lam: Tensor, B: Tensor, C: Tensor, D: Tensor, *rest: Any) -> tuple:
    like = tuple(t.new_empty(t.shape) for t in (u, lam, B, C, D))
    return *like, lam.new_empty(u.shape[0], *lam.shape)


_SYSTEM = "Tensor u, Tensor lam, Tensor B, Tensor C, Tensor D, Tensor? x0"
_layer = define(f"fused_layer({_SYSTEM}, bool keep) -> (Tensor, Tensor, Tensor)", _run, _outputs)
_layer_backward = define(
    f"fused_layer_backward({_SYSTEM}, Tensor starts, Tensor dy, Tensor dfinal)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _run_backward,
    _gradients,
)
differentiate(_layer, _backward, _jvp, lambda inputs, outputs: (*inputs[:6], outputs[2]), [2])
differentiate_backward(_layer_backward, _adjoint, _adjoint_jvp)


def _map(info: Any, mapped: tuple, *inputs: Any) -> tuple:
    """Sequences side by side, or channels where the systems differ; without kept states."""
    inputs = (*inputs[:6], False)
    if any(dim is not None for dim in mapped[1:5]):
        return merge(_layer, info, mapped, inputs, (2, 0, 0, 0, 0, 1, None), (2, 1, None))
    return merge(_layer, info, mapped, inputs, (0, *[None] * 4, 0, None), (0, 0, None))


torch.library.register_vmap(_layer, _map)


def _map_backward(info: Any, mapped: tuple, *inputs: Any) -> tuple:
    """Channels side by side: each element has gradients of its own."""
    inputs = (*inputs[:6], inputs[0].new_empty(0), *inputs[7:])
    axes = (2, 0, 0, 0, 0, 1, None, 2, 1)
    return merge(_layer_backward, info, mapped, inputs, axes, (2, 0, 0, 0, 0, 1))


torch.library.register_vmap(_layer_backward, _map_backward)
