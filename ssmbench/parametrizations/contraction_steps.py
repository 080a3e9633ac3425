"""The steps of a selective contraction from what is selected, a part of them at a time.

The formulas take some thirty elementwise operations, whose results autograd would keep: 25 numbers
a token and channel. Here a part of the steps that fits the processor's cache goes through all of
them before the next one, only what was selected is kept, and the gradient is written out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import forward_ad

from ssmbench.parametrizations.gates import (
    angle_gate,
    angle_gate_values,
    shrinking,
    shrunk,
    unit_vector,
    unit_vector_gradient,
)
from ssmbench.transforms import are_batches, values_unknown

#: Numbers selected of one part, for each thread on a CPU: operations on a quarter of them.
_PART = 1 << 17

Entries = tuple[Tensor, Tensor, Tensor, Tensor]


def contraction_steps(selected: Float[Tensor, "*place 4 G N"], gamma: float) -> Entries:
    """lam, B and C (..., G, N) and D (..., G) from the raw write and read gates, beta and c.

    First derivatives keep ``selected`` alone; where more are asked for later, and in forward mode,
    ``torch.func`` and tracing, these are those of :func:`by_definition`.
    """
    if values_unknown() or forward_ad._current_level >= 0:
        return by_definition(selected, gamma)
    return _Steps.apply(selected, gamma)


def by_definition(selected: Float[Tensor, "*place 4 G N"], gamma: float) -> Entries:
    """As :func:`contraction_steps`, in differentiable operations on all steps at once."""
    return _entries(angle_gate(selected[..., :2, :, :]), selected, gamma)


def _entries(gates: tuple[Tensor, Tensor], selected: Tensor, gamma: float) -> Entries:
    """From the values a and s of both gates, (..., 2, G, N)."""
    (a_w, a_r), (s_w, s_r) = (pair.unbind(-3) for pair in gates)
    beta, c = unit_vector(selected[..., 2:, :, :]).unbind(-3)
    # The roundings of an entry: four of each s, one of each product, and two where the scan
    # multiplies and adds; in the output, which sums, one more for each of the N states.
    kept, given = shrunk(a_r, 24), shrunk(gamma * (c * s_r), 2 * selected.shape[-1] + 40)
    wrote = s_w * beta
    return kept * a_w, kept * wrote, given * a_w, (given * wrote).sum(-1)


class _Steps(torch.autograd.Function):
    """:func:`by_definition`, a part at a time."""

    @staticmethod
    def forward(ctx: Any, selected: Tensor, gamma: float) -> Entries:
        ctx.save_for_backward(selected)
        ctx.gamma = gamma
        rows = selected.flatten(0, -4)
        table = rows.shape[0], *rows.shape[2:]
        found = (*(selected.new_empty(table) for _ in "aBC"), selected.new_empty(table[:-1]))
        for part in _parts(rows):
            entries = _entries(angle_gate_values(rows[part, :2]), rows[part], gamma)
            for whole, values in zip(found, entries, strict=True):
                whole[part] = values
        place = selected.shape[:-3]
        lam, B, C, D = (whole.unflatten(0, place) for whole in found)
        return lam, B, C, D

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, None]:
        (selected,) = ctx.saved_tensors
        further = torch.is_grad_enabled()  # it is to be differentiated
        if further or values_unknown() or are_batches(*cotangents):
            with torch.enable_grad():
                again = by_definition(selected, ctx.gamma)
            (found,) = torch.autograd.grad(again, selected, cotangents, create_graph=further)
            return found, None
        rows, found = selected.flatten(0, -4), torch.empty_like(selected).flatten(0, -4)
        flat = [g.flatten(0, selected.ndim - 4) for g in cotangents]
        for part in _parts(rows):
            _gradient(rows[part], ctx.gamma, [g[part] for g in flat], found[part])
        return found.view_as(selected), None


def _parts(rows: Tensor) -> Iterator[slice]:
    """All rows, a part at a time on a CPU."""
    size = max(1, rows[:1].numel())
    most = _PART * torch.get_num_threads() // size if rows.is_cpu else len(rows)
    return (slice(k, k + max(1, most)) for k in range(0, len(rows), max(1, most)))


def _gradient(selected: Tensor, gamma: float, cotangents: list[Tensor], out: Tensor) -> None:
    """Writes the gradient of ``selected`` (R, 4, G, N) from those of lam, B, C and D."""
    dlam, dB, dC, dD = cotangents
    gates, vectors = selected[:, :2], selected[:, 2:]
    a, s = angle_gate_values(gates)
    pairs = (a, s, unit_vector(vectors))
    (a_w, a_r), (s_w, s_r), (beta, c) = (pair.unbind(1) for pair in pairs)
    factor = gamma * shrinking(a.dtype, 2 * selected.shape[-1] + 40)
    kept, given, wrote = shrunk(a_r, 24), factor * (c * s_r), s_w * beta
    of_kept = torch.addcmul(dlam * a_w, dB, wrote) * shrinking(a.dtype, 24)
    of_wrote = torch.addcmul(dB * kept, dD[..., None], given)
    of_given = torch.addcmul(dC * a_w, dD[..., None], wrote).mul_(factor)
    of_a = torch.stack([torch.addcmul(dlam * kept, dC, given), of_kept], 1)
    of_s = torch.stack([of_wrote * beta, of_given * c], 1)
    of_angle = of_s.mul_(a).addcmul_(of_a, s, value=-1)  # da = -sin, ds = cos of the angle
    sigma = torch.sigmoid(gates)
    slope = (sigma * (1 - sigma)).mul_(math.pi / 2)
    torch.mul(of_angle, slope, out=out[:, :2])
    of_vectors = torch.stack([of_wrote * s_w, of_given * s_r], 1)
    out[:, 2:] = unit_vector_gradient(vectors, of_vectors)
