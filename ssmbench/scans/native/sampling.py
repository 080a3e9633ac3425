"""Diagonal systems sampled by the C kernels that sampling.h describes."""

from __future__ import annotations

from torch import Tensor

from ssmbench.scans.native.common import contiguous, precision
from ssmbench.scans.native.library import call

#: Multiply-adds to which the functions of a mode compare.
_COST = 100

Numbers = tuple[int, float, float]


def sample_modes(given: tuple[Tensor, ...], numbers: Numbers, results: tuple[Tensor, ...]) -> None:
    """Fill a, b, k, f and scale from lam, B and dt."""
    lam, B, dt = contiguous(*given)
    a, b, k, f, scale = results
    tensors = (lam, B, dt, a, b, _or_none(k), _or_none(f), scale)
    _call("sample_modes", B, numbers, tensors)


def sample_modes_backward(
    given: tuple[Tensor, ...], numbers: Numbers, results: tuple[Tensor, ...]
) -> None:
    """Fill the gradients of lam, B and dt from lam, B, dt, scale, and those of a, b, k and f."""
    *tensors, dk, df = contiguous(*given)
    _call(
        "sample_modes_backward",
        tensors[1],
        numbers,
        (*tensors, _or_none(dk), _or_none(df), *results),
    )


def _or_none(tensor: Tensor) -> Tensor | None:
    return tensor if tensor.numel() else None


def _call(name: str, B: Tensor, numbers: Numbers, tensors: tuple[Tensor | None, ...]) -> None:
    heads, states, inputs = map(int, B.shape)
    work = heads * states * (_COST + 16 * inputs)
    call(f"{name}_{precision(B)}", heads, work, (states, inputs, *numbers, *tensors))
