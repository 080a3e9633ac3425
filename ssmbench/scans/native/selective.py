"""Selective systems: sampled, scanned and read in one pass, states written at chunks' starts only.

The layer is :func:`ssmbench.scans.selective.selective_layer`; selective.h describes the kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.scans import selective as definition
from ssmbench.scans.native.common import VECTOR_BYTES, contiguous, lanes, precision
from ssmbench.scans.native.library import call, unavailable_reason
from ssmbench.scans.selective import Form
from ssmbench.scans.selective_operator import (
    NUMBERS,
    TENSORS,
    by_definition,
    define_selective,
    selective_adjoint,
)
from ssmbench.systems import SampledModes, TimeVaryingDiagonal, by_head

#: Time steps between saved states, as in selective.h.
_STRIDE = 32
#: Channels of a group below which each channel is given rows of its own: lanes are channels.
_FEWEST_SHARED = 4
#: The bits of the kernels' flags.
_EULER_INPUT, _AFTER_INPUT, _OWN_ROWS, _D_VARIES = 1, 2, 4, 8


def scan_selective(
    system: SampledModes | TimeVaryingDiagonal,
    u: Float[Tensor, "B L H 1"],
    x0: Float[Tensor, "B H N"] | None,
) -> tuple[Float[Tensor, "B L H 1"], Float[Tensor, "B H N"]]:
    """Outputs and final state of a system that :func:`ssmbench.scans.selective.suits`, in float32
    or float64.

    In the backward pass, states between saved ones are computed again, so memory for states is
    1/32 of all of them; of a group whose channels are no multiple of a vector's (16 in float32, 8
    in float64) as much as of the next multiple. Gradients of shared rows take memory for each
    vector of a group's channels until they are summed, those of rows of each channel as much as the
    rows. Gradients can be differentiated again, by separate operations.
    """
    return definition.scanned(selective_layer, system, u, x0)


def selective_layer(
    u: Float[Tensor, "B L H"],
    dt: Float[Tensor, "B L H"] | None,
    lam: Float[Tensor, "*place N"],
    B: Float[Tensor, "B L G N"],
    C: Float[Tensor, "B L G N"],
    D: Float[Tensor, "*steps H"],
    x0: Float[Tensor, "B H N"] | None,
    form: Form,
) -> tuple[Float[Tensor, "B L H"], Float[Tensor, "B H N"]]:
    """As :func:`ssmbench.scans.selective.selective_layer`."""
    share = u.shape[2] // B.shape[2]
    if 1 < share < _FEWEST_SHARED:
        lam, B, C = (
            by_head(table, u.shape[2]) if table.ndim == 4 else table for table in (lam, B, C)
        )
    return _layer(u, dt, lam, B, C, D, x0, form)


def has_selective(dtype: torch.dtype, u: Tensor) -> bool:
    """Whether there are kernels for signals like ``u`` and states of ``dtype``."""
    ours = dtype in (torch.float32, torch.float64)
    return ours and u.is_cpu and u.numel() > 0 and unavailable_reason() is None


# --- kernels ------------------------------------------------------------------------------------


def _run(*inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Of the tensors, the numbers, and whether states are kept."""
    results, keep = _outputs(*inputs), inputs[-1]
    if not has_selective(inputs[0].dtype, inputs[0]):
        y, final = by_definition(*inputs[:-1])
        return y.clone(), final.clone(), results[2].zero_()
    tensors, numbers = inputs[:TENSORS], inputs[TENSORS:-1]
    given = (*_plain(tensors), *results[:2], results[2] if keep else None)
    states = tensors[2].shape[-1]
    _call("selective_forward", tensors, numbers, (), given, 16, 3 * states)
    return results


def _outputs(*inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """y, the final state, and the saved states where they are kept; not filled."""
    u, _, lam, B, *_ = inputs
    batch, length, channels = u.shape
    rows = batch * _blocks(u, B) * -(-length // _STRIDE)
    size = rows * lam.shape[-1] * lanes(u) if inputs[-1] else 0
    return u.new_empty(u.shape), u.new_empty(batch, channels, lam.shape[-1]), u.new_empty(size)


def _run_backward(*given: Any) -> tuple[Tensor, ...]:
    """Of the tensors and numbers, the saved states, and the gradients of y and the final state."""
    tensors, numbers = given[:TENSORS], given[TENSORS : TENSORS + NUMBERS]
    starts, dy, dfinal = given[-3:]
    if not has_selective(dy.dtype, dy):
        return tuple(g.clone() for g in selective_adjoint(*given))
    if starts.numel() == 0:
        starts = _run(*tensors, *numbers, True)[2]
    u, dt, lam, B, C, D, _ = tensors
    (batch, _, channels), states = u.shape, lam.shape[-1]
    parts = 1 if _own_rows(u, B) else _blocks(u, B) // B.shape[2]
    dB, dC = (table.new_empty(parts, *table.shape) for table in (B, C))
    du, dx0 = torch.empty_like(u, memory_format=torch.contiguous_format), _empty(dfinal)
    ddt = u.new_empty(0) if dt is None else _empty(dt)
    dlam = lam.new_empty(parts, *lam.shape) if dt is None else lam.new_empty(0)
    sums = u.new_empty(batch, channels, states, dtype=torch.float64)
    D_sums = u.new_empty(batch, channels, dtype=torch.float64)
    dD = _empty(D)
    results = (du, ddt, dlam, dB, dC, dD, sums, D_sums, dx0)
    inputs = (*_plain(tensors)[:-1], *contiguous(starts, dy, dfinal))
    chunk = 9 * _STRIDE + 1 + 4 * _STRIDE
    scratch = 5 * states + 4 + chunk
    _call("selective_backward", tensors, numbers, (B.numel(),), (*inputs, *results), 40, scratch)
    dlam = sums.sum(0).to(lam.dtype) if dt is not None else _over_blocks(dlam)
    dD = dD if D.ndim == 3 else D_sums.sum(0).to(D.dtype)
    return du, ddt, dlam, _over_blocks(dB), _over_blocks(dC), dD, dx0


def _over_blocks(parts: Tensor) -> Tensor:
    """Their sum (a single part is not copied)."""
    return parts[0] if len(parts) == 1 else parts.sum(0)


def _plain(tensors: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    return tuple(None if x is None else x.contiguous() for x in tensors)


def _empty(like: Tensor) -> Tensor:
    return like.new_empty(like.shape)


def _own_rows(u: Tensor, B: Tensor) -> bool:
    """Whether each channel has rows of its own."""
    return bool(B.shape[2] == u.shape[2])


def _blocks(u: Tensor, B: Tensor) -> int:
    """Blocks of channels, each a vector, of one sequence."""
    groups = 1 if _own_rows(u, B) else B.shape[2]
    return groups * -(-(u.shape[2] // groups) // lanes(u))


def _call(
    name: str,
    tensors: Sequence[Any],
    numbers: Sequence[Any],
    sizes: tuple[int, ...],
    given: tuple[Tensor | None, ...],
    cost: int,
    scratch: int,
) -> None:
    u, _, lam, B, _, D, _ = tensors
    rule, alpha, c, euler, after = numbers
    flags = _EULER_INPUT * euler + _AFTER_INPUT * after
    flags += _OWN_ROWS * _own_rows(u, B) + _D_VARIES * (D.ndim == 3)
    places = torch.tensor([alpha, c], dtype=torch.float64)
    states = lam.shape[-1]
    header = (u.shape[1], u.shape[2], states, B.shape[2], rule, flags, *sizes, places)
    items, work = u.shape[0] * _blocks(u, B), cost * u.numel() * states
    call(f"{name}_{precision(u)}", items, work, (*header, *given), VECTOR_BYTES * scratch)


_layer = define_selective("selective_layer", _run, _outputs, _run_backward)
