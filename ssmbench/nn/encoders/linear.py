"""Encoders of channels: affine maps of each step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssmbench.analysis.certificate import Bound
from ssmbench.analysis.network_bound.enclosed import Enclosed
from ssmbench.analysis.network_bound.shifted import ShiftedMap, between
from ssmbench.nn.bounds import linear_bound
from ssmbench.nn.encoders.base import Encoder
from ssmbench.nn.linear import BoundedLinear
from ssmbench.options import one_of, option
from ssmbench.program import Builder
from ssmbench.registry import encoders
from ssmbench.spec import Channels


@dataclass
class LinearConfig:
    """``activation``: what is applied to each number of the result. The slope of tanh is at most 1,
    so that bounds stay. ``bias``: whether b is there; a zero-state gain from the input needs a
    network without."""

    activation: str = option("none", one_of("none", "tanh"), added=2)
    bias: bool = option(True, added=2)


@encoders.register("linear", config=LinearConfig)
class LinearEncoder(Encoder, nn.Linear):
    """W u + b, step by step, or tanh of it."""

    unbounded_reason = ""

    def __init__(self, config: LinearConfig, *, input: Channels, length: int, d_model: int):
        nn.Linear.__init__(self, input.count, d_model, bias=config.bias)
        self.maps_zero_to_zero = not config.bias
        self.tanh = config.activation == "tanh"

    def forward(self, u: Float[Tensor, "B L c"], start: int = 0) -> Float[Tensor, "B L d"]:
        x = nn.Linear.forward(self, u)
        return torch.tanh(x) if self.tanh else x

    def lower(self, to: Builder, u: int) -> int:
        x = to.affine(u, self.weight, self.bias)
        return to.pointwise(x, "tanh") if self.tanh else x

    def bound(self) -> Bound:
        return linear_bound(self)

    def shifted(self, channels: int, width: int) -> ShiftedMap | None:
        return _shifted(self.weight, self.tanh)


@encoders.register("bounded_linear", config=LinearConfig)
class BoundedLinearEncoder(Encoder, BoundedLinear):
    """W u / ||W||_2 + b, step by step, or tanh of it: its Lipschitz constant is 1 for all parameter
    values."""

    lipschitz = 1.0

    def __init__(self, config: LinearConfig, *, input: Channels, length: int, d_model: int):
        BoundedLinear.__init__(self, input.count, d_model, bias=config.bias)
        self.maps_zero_to_zero = not config.bias
        self.tanh = config.activation == "tanh"

    def forward(self, u: Float[Tensor, "B L c"], start: int = 0) -> Float[Tensor, "B L d"]:
        x = BoundedLinear.forward(self, u)
        return torch.tanh(x) if self.tanh else x

    def lower(self, to: Builder, u: int) -> int:
        x = to.affine(u, self.effective_weight(), self.bias)
        return to.pointwise(x, "tanh") if self.tanh else x

    def bound(self) -> Bound:
        return linear_bound(self)

    def shifted(self, channels: int, width: int) -> ShiftedMap | None:
        return _shifted(self.effective_weight(), self.tanh)


def _shifted(weight: Float[Tensor, "d c"], tanh: bool) -> ShiftedMap | None:
    if not torch.isfinite(weight).all():
        return None
    matrix = Enclosed.of(weight)
    if not tanh:
        return ShiftedMap.of_matrix(matrix)
    return between(0.0, 1.0, Enclosed.identity(len(weight)), matrix)
