"""Single and double precision, the unit roundoff, and rounded values with exact gradients."""

from __future__ import annotations

import torch
from jaxtyping import Inexact
from torch import Tensor

#: The unit roundoff of float64: the largest relative error of one rounding.
EPS = 2.0**-53


def double_dtype(*tensors: Tensor) -> torch.dtype:
    """complex128 where any of the tensors is complex, else float64."""
    return torch.complex128 if any(t.is_complex() for t in tensors) else torch.float64


def to_double(x: Inexact[Tensor, "*shape"]) -> Inexact[Tensor, "*shape"]:
    """x in float64 or complex128."""
    return x.to(double_dtype(x))


def to_single(x: Inexact[Tensor, "*shape"]) -> Inexact[Tensor, "*shape"]:
    """x in float32 or complex64."""
    return x.to(torch.complex64 if x.is_complex() else torch.float32)


def straight_through(
    exact: Inexact[Tensor, "*shape"], value: Inexact[Tensor, "*shape"]
) -> Inexact[Tensor, "*shape"]:
    """``value``, a rounded form of ``exact``, with the gradient of ``exact``.

    (The straight-through estimator of Bengio, Leonard, Courville 2013, arXiv 1308.3432.)
    """
    return exact + (value - exact).detach()
