"""The delta rule; states are written at the starts of chunks only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.scans import delta as definition
from ssmbench.scans.delta_operator import define_delta, delta_adjoint, saved_states
from ssmbench.scans.native.common import VECTOR_BYTES, contiguous, lanes, precision
from ssmbench.scans.native.library import call, unavailable_reason
from ssmbench.systems import TimeVaryingDelta

#: Time steps between saved states, as in delta.h.
_STRIDE = 32


def scan_delta(
    system: TimeVaryingDelta, u: Float[Tensor, "B L H 1"], x0: Float[Tensor, "B H N"] | None
) -> tuple[Float[Tensor, "B L H 1"], Float[Tensor, "B H N"]]:
    """Outputs and final state, in float32 or float64.

    In the backward pass, states between saved ones are computed again, so memory for states is
    1/32 of all of them. Gradients can be differentiated again, by the loop of
    :func:`ssmbench.scans.delta.delta_layer`, which also serves where the kernels were not compiled;
    there are no derivatives in forward mode.
    """
    return definition.scanned(delta_layer, system, u, x0)


def delta_layer(
    u: Float[Tensor, "B L G P"],
    key: Float[Tensor, "B L G N"],
    query: Float[Tensor, "B L G N"],
    decay: Float[Tensor, "B L G n"],
    gates: Float[Tensor, "B L G 4"],
    x0: Float[Tensor, "B G N P"],
) -> tuple[Float[Tensor, "B L G P"], Float[Tensor, "B G N P"]]:
    """As :func:`ssmbench.scans.delta.delta_layer`, all of one dtype."""
    return _layer(u, key, query, decay, gates, x0)


# --- kernels ------------------------------------------------------------------------------------


def _run(
    u: Tensor,
    key: Tensor,
    query: Tensor,
    decay: Tensor,
    gates: Tensor,
    x0: Tensor,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    y, final, starts = _outputs(u, key, query, decay, gates, x0, keep)
    inputs = contiguous(u, key, query, decay, gates, x0)
    if not _is_native(u):
        y, final = (t.clone() for t in definition.delta_layer(*inputs))
        return y, final, starts.zero_()
    scratch = VECTOR_BYTES * key.shape[3]
    _call("delta_forward", inputs, 8, (y, final, starts if keep else None), scratch)
    return y, final, starts


def _outputs(
    u: Tensor,
    key: Tensor,
    query: Tensor,
    decay: Tensor,
    gates: Tensor,
    x0: Tensor,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """y, the final state, and the saved states where they are kept; not filled."""
    batch, length, groups, width = u.shape
    rows = batch * groups * -(-width // lanes(u)) * -(-length // _STRIDE)
    size = rows * key.shape[3] * lanes(u) if keep else 0
    return u.new_empty(u.shape), x0.new_empty(x0.shape), u.new_empty(size)


def _run_backward(
    u: Tensor,
    key: Tensor,
    query: Tensor,
    decay: Tensor,
    gates: Tensor,
    x0: Tensor,
    starts: Tensor,
    dy: Tensor,
    dfinal: Tensor,
) -> tuple[Tensor, ...]:
    if not _is_native(u):
        results = delta_adjoint(u, key, query, decay, gates, x0, starts, dy, dfinal)
        return tuple(g.clone() for g in results)
    starts = saved_states(_run, (u, key, query, decay, gates, x0), starts)
    given = contiguous(u, key, query, decay, gates, starts, dy, dfinal)
    sums = tuple(torch.zeros_like(x) for x in given[1:5])
    du, dx0 = torch.empty_like(given[0]), torch.empty_like(given[-1])
    scratch = VECTOR_BYTES * ((2 + _STRIDE) * key.shape[3] + 3 * _STRIDE)
    _call("delta_backward", given, 24, (du, *sums, dx0), scratch)
    return du, *sums, dx0


def _is_native(u: Tensor) -> bool:
    ours = u.dtype in (torch.float32, torch.float64)
    return ours and u.is_cpu and u.numel() > 0 and unavailable_reason() is None


def _call(name: str, inputs: Sequence[Tensor], cost: int, results: tuple, scratch: int) -> None:
    u, key, _, decay, *_ = inputs
    batch, length, groups, width = u.shape
    sizes = (length, groups, key.shape[3], width, decay.shape[3])
    work = cost * u.numel() * key.shape[3]
    arguments = (*sizes, *inputs, *results)
    call(f"{name}_{precision(u)}", batch * groups, work, arguments, scratch)


_layer = define_delta("delta_layer", _run, _outputs, _run_backward)
