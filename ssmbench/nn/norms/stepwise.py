"""Norms that read one step at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ssmbench.analysis.certificate import Bound
from ssmbench.analysis.network_bound.enclosed import Enclosed
from ssmbench.analysis.network_bound.shifted import ShiftedMap
from ssmbench.nn.norms.base import Norm, largest
from ssmbench.options import POSITIVE, option
from ssmbench.program import Builder
from ssmbench.registry import NoOptions, norms


@dataclass
class EpsilonConfig:
    """``eps``: added to the variance or the mean square; S5's code has 1e-6 in its LayerNorm."""

    eps: float = option(1e-5, POSITIVE, added=2)


@norms.register("none")
class NoNorm(Norm):
    """No normalisation: the identity."""

    lipschitz = 1.0
    maps_zero_to_zero = True

    def forward(
        self, x: Float[Tensor, "B L d"], lengths: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B L d"]:
        return x

    def lower(self, to: Builder, x: int) -> int:
        return x

    def shifted(self, width: int) -> ShiftedMap:
        return ShiftedMap.of_matrix(Enclosed.identity(width))


def no_norm() -> Norm:
    """The identity, for networks that are built without a config."""
    return NoNorm(NoOptions(), d_model=0)


@norms.register("layer", config=EpsilonConfig, citation="Ba, Kiros, Hinton 2016, arXiv 1607.06450")
class LayerNorm(Norm):
    """(x - mean) / sqrt(variance + eps) of each step's channels, times a weight, plus a bias.

    ``eps`` limits the slope, to |w| / sqrt(eps) at a step whose channels are all equal: 316 |w| for
    the default. No certificate could use a constant of that size, and none is declared.
    """

    why_unbounded = "LayerNorm divides by the signal's spread, which may vanish"

    def __init__(self, config: EpsilonConfig, *, d_model: int):
        super().__init__(config, d_model=d_model)
        self.eps = config.eps
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(
        self, x: Float[Tensor, "B L d"], lengths: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B L d"]:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)

    def lower(self, to: Builder, x: int) -> int:
        return to.scale(to.standardise(x, self.eps), self.weight, self.bias)


@norms.register("rms", config=EpsilonConfig, citation="Zhang and Sennrich 2019, arXiv 1910.07467")
class RMSNorm(Norm):
    """x / sqrt(mean square of the step's channels + eps), times a weight.

    The Jacobian without the weight is (I - x x' / (d s^2)) / s with s the root: its norm is at most
    1 / sqrt(eps), reached at zero. With ``eps`` near 1 this is a constant that a certified network
    can use; the default, that of other codes, allows 316.
    """

    why_unbounded = ""  # its constant follows from eps and its weights
    maps_zero_to_zero = True

    def __init__(self, config: EpsilonConfig, *, d_model: int):
        super().__init__(config, d_model=d_model)
        self.eps = config.eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(
        self, x: Float[Tensor, "B L d"], lengths: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B L d"]:
        mean_square = x.square().mean(-1, keepdim=True)
        return x * torch.rsqrt(mean_square + self.eps) * self.weight

    def lower(self, to: Builder, x: int) -> int:
        return to.scale(to.root_mean_square(x, self.eps), self.weight)

    def bound(self) -> Bound:
        return largest(self.weight / math.sqrt(self.eps))
