"""Sorting of neighbouring channels; what its gradient needs is one boolean for each pair."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ssmbench.transforms import values_unknown


def sort_pairs(x: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape d"]:
    """(max, min) of each pair of neighbouring channels; of an odd number, the last one stays.

    The gradient goes to the channel that an output was taken from, and where both are equal half of
    it to each, as those of ``torch.maximum`` and ``torch.minimum``, which keep both channels.
    """
    return _by_maximum(x) if values_unknown() or _forward_mode() else _Sorted.apply(x)


def _forward_mode() -> bool:
    return torch.autograd.forward_ad._current_level >= 0


def _pairs(x: Float[Tensor, "*shape d"]) -> tuple[Tensor, Tensor]:
    """Views of the first and the second channel of each pair, (*shape, d // 2) each."""
    paired = x.shape[-1] // 2 * 2
    return x[..., :paired:2], x[..., 1:paired:2]


def _by_maximum(x: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape d"]:
    """In operations of PyTorch, which it can trace and transform."""
    first, second = _pairs(x)
    pairs = torch.stack([torch.maximum(first, second), torch.minimum(first, second)], -1)
    return torch.cat([pairs.flatten(-2), x[..., x.shape[-1] // 2 * 2 :]], -1)


def _like(x: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape d"]:
    """A new tensor whose pairs are to be filled in."""
    result = torch.empty_like(x)
    if x.shape[-1] % 2:
        result[..., -1] = x[..., -1]
    return result


class _Sorted(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape d"]:
        first, second = _pairs(x)
        result = _like(x)
        larger, smaller = _pairs(result)
        torch.maximum(first, second, out=larger)
        torch.minimum(first, second, out=smaller)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(first < second, _ties(first, second))
        return result

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Tensor:
        return _Exchanged.apply(*cotangents, *ctx.saved_tensors)


def _ties(first: Tensor, second: Tensor) -> Bool[Tensor, "*pairs"] | None:
    """Where the channels of a pair are equal; None where it is known that none are: a GPU is not
    waited for."""
    ties = first == second
    return None if ties.device.type == "cpu" and not ties.any() else ties


class _Exchanged(torch.autograd.Function):
    """The linear map that exchanges the channels of some pairs and makes both the mean in some
    others; it is symmetric, and so its own adjoint."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "*shape d"],
        exchanged: Bool[Tensor, "*pairs"],
        ties: Bool[Tensor, "*pairs"] | None,
    ) -> Float[Tensor, "*shape d"]:
        ctx.save_for_backward(exchanged, ties)
        first, second = _pairs(x)
        one, other = torch.where(exchanged, second, first), torch.where(exchanged, first, second)
        if ties is not None:
            mean = first / 2 + second / 2
            one, other = torch.where(ties, mean, one), torch.where(ties, mean, other)
        result = _like(x)
        for part, value in zip(_pairs(result), (one, other), strict=True):
            part.copy_(value)  # torch.where(.., out=part) has no rule for batches of gradients
        return result

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, None, None]:
        return _Exchanged.apply(*cotangents, *ctx.saved_tensors), None, None
