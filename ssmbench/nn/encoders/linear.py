"""Encoders of channels: affine maps of each step."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from ssmbench.analysis.certificate import Bound
from ssmbench.nn.bounds import linear_bound
from ssmbench.nn.encoders.base import Encoder
from ssmbench.nn.linear import BoundedLinear
from ssmbench.registry import NoOptions, encoders
from ssmbench.spec import Channels


@encoders.register("linear")
class LinearEncoder(Encoder, nn.Linear):
    """W u + b, step by step."""

    unbounded_reason = ""

    def __init__(self, config: NoOptions, *, input: Channels, length: int, d_model: int):
        nn.Linear.__init__(self, input.count, d_model)

    def forward(self, u: Float[Tensor, "B L c"], start: int = 0) -> Float[Tensor, "B L d"]:
        return nn.Linear.forward(self, u)

    def bound(self) -> Bound:
        return linear_bound(self)


@encoders.register("bounded_linear")
class BoundedLinearEncoder(Encoder, BoundedLinear):
    """W u / ||W||_2 + b, step by step: its Lipschitz constant is 1 for all parameter values."""

    lipschitz = 1.0

    def __init__(self, config: NoOptions, *, input: Channels, length: int, d_model: int):
        BoundedLinear.__init__(self, input.count, d_model)

    def forward(self, u: Float[Tensor, "B L c"], start: int = 0) -> Float[Tensor, "B L d"]:
        return BoundedLinear.forward(self, u)

    def bound(self) -> Bound:
        return linear_bound(self)
