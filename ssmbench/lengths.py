"""Batches of sequences of different lengths, padded at the end."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Inexact, Int, Shaped
from torch import Tensor

from ssmbench.errors import require
from ssmbench.transforms import values_deferred


def check_lengths(lengths: Tensor, batch: int, total: int) -> None:
    """Raise a UsageError unless ``lengths`` holds ``batch`` integers in 1..total; the range is not
    looked at in traced graphs, nor where a device would be waited for in training."""
    integer = not (
        lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool
    )
    require(
        integer and tuple(lengths.shape) == (batch,),
        f"lengths: must be {batch} whole numbers, one per sequence, got shape "
        f"{tuple(lengths.shape)} of {lengths.dtype}",
    )
    if values_deferred(lengths):
        return
    inside = bool(((lengths >= 1) & (lengths <= total)).all())
    require(inside, f"lengths: must be in 1..{total}, the steps of the padded batch")


def valid_steps(lengths: Int[Tensor, " B"], total: int) -> Bool[Tensor, "B L"]:
    """True at the steps that belong to each sequence, False at its padding; ``total`` is L."""
    return torch.arange(total, device=lengths.device) < lengths[:, None]


def last_steps(lengths: Int[Tensor, " B"], total: int) -> Bool[Tensor, "B L"]:
    """True at the last step of each sequence; ``total`` is L."""
    return torch.arange(total, device=lengths.device) == lengths[:, None] - 1


def mask_steps(
    x: Shaped[Tensor, "B L *rest"], steps: Bool[Tensor, "B L"]
) -> Shaped[Tensor, "B L *rest"]:
    """x with zeros where ``steps`` is False, even if x is NaN there; the gradient there is zero."""
    return x.masked_fill(~steps.reshape(*steps.shape, *(1 for _ in x.shape[2:])), 0)


def reversed_time(
    x: Inexact[Tensor, "B L d"], lengths: Int[Tensor, " B"] | None
) -> Inexact[Tensor, "B L d"]:
    """Each sequence reversed in time, with its padding unchanged; applied twice, the identity."""
    if lengths is None:
        return x.flip(1)
    steps = torch.arange(x.shape[1], device=x.device)
    backwards = lengths[:, None] - 1 - steps
    index = torch.where(backwards >= 0, backwards, steps)
    return x.gather(1, index[..., None].expand_as(x))
