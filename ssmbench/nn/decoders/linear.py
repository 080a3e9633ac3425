"""Affine decoders, of each step or of one pooled vector."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ssmbench.analysis.certificate import Bound
from ssmbench.lengths import mask_steps, valid_steps
from ssmbench.nn.bounds import weight_bound
from ssmbench.nn.decoders.base import Decoder, PoolingDecoder
from ssmbench.nn.linear import bounded_weight
from ssmbench.nn.pooling import Pooling
from ssmbench.options import option
from ssmbench.program import Builder
from ssmbench.registry import decoders
from ssmbench.scans.sequence_parallel import Segments
from ssmbench.spec import Reading, TaskSizes


@dataclass
class AffineConfig:
    """``bias``: whether b is there; a zero-state gain needs a network without."""

    bias: bool = option(True, added=2)


class _Affine(nn.Linear):
    """W x + b; with a ``gain``, gain * W / ||W||_2 x + b."""

    def affine(
        self, x: Float[Tensor, "*shape d"], gain: float | None
    ) -> Float[Tensor, "*shape out"]:
        return F.linear(x, self.used_weight(gain), self.bias)

    def lower_affine(self, to: Builder, x: int, gain: float | None) -> int:
        """As :meth:`affine`, in an exported network."""
        return to.affine(x, self.used_weight(gain), self.bias)

    def used_weight(self, gain: float | None) -> Float[Tensor, "out d"]:
        """The weight that multiplies x."""
        return self.weight if gain is None else bounded_weight(self.weight, gain)

    def affine_bound(self, gain: float | None) -> Bound:
        """The spectral norm of the weight that multiplies x."""
        stored = weight_bound(self.weight)
        if gain is None or not stored.finite:
            return stored
        return weight_bound(bounded_weight(self.weight)).then(Bound(gain))


@decoders.register("per_step", config=AffineConfig)
class PerStep(Decoder, _Affine):
    """W x + b for each step, with a prescribed ||W||_2 if there is a ``model.gamma``."""

    reads = Reading.steps
    takes_gain = True
    unbounded_reason = ""

    def __init__(self, config: AffineConfig, *, sizes: TaskSizes, d_model: int, pooling: Pooling):
        nn.Linear.__init__(self, d_model, sizes.outputs, bias=config.bias)
        self.maps_zero_to_zero = not config.bias

    def forward(
        self,
        x: Float[Tensor, "B L d"],
        lengths: Int[Tensor, " B"] | None = None,
        gain: float | None = None,
    ) -> Float[Tensor, "B L out"]:
        y = self.affine(x, gain)
        return y if lengths is None else mask_steps(y, valid_steps(lengths, x.shape[1]))

    def stream(
        self, x: Float[Tensor, "B L d"], carried: None, steps: int, gain: float | None = None
    ) -> tuple[Float[Tensor, "B L out"], None]:
        return self.affine(x, gain), None

    def lower(self, to: Builder, x: int, gain: float | None) -> int:
        return self.lower_affine(to, x, gain)

    def read_segment(
        self,
        x: Float[Tensor, "B l d"],
        lengths: Int[Tensor, " B"] | None,
        length: int,
        segments: Segments,
        gain: float | None = None,
    ) -> Float[Tensor, "B L out"]:
        """The predictions that each rank made for its own steps, joined."""
        y = segments.join(self.affine(x, gain), length)
        return y if lengths is None else mask_steps(y, valid_steps(lengths, length))

    def bound(self, length: int, gain: float | None = None) -> Bound:
        return self.affine_bound(gain)

    def rows(self, gain: float | None = None) -> Float[Tensor, "out d"]:
        return self.used_weight(gain)


@decoders.register("pooled", config=AffineConfig)
class Pooled(PoolingDecoder, _Affine):
    """W p + b for one vector p per sequence, pooled according to ``model.pooling``."""

    reads = Reading.sequence
    takes_gain = True
    unbounded_reason = ""

    def __init__(self, config: AffineConfig, *, sizes: TaskSizes, d_model: int, pooling: Pooling):
        nn.Linear.__init__(self, d_model, sizes.outputs, bias=config.bias)
        self.maps_zero_to_zero = not config.bias
        self.pooling = pooling

    def read(
        self, vectors: Float[Tensor, "B d"], gain: float | None = None
    ) -> Float[Tensor, "B out"]:
        return self.affine(vectors, gain)

    def lower(self, to: Builder, x: int, gain: float | None) -> int:
        pooled = x if self.pooling is Pooling.last else to.mean(x, self.pooling.value)
        return self.lower_affine(to, pooled, gain)

    def bound(self, length: int, gain: float | None = None) -> Bound:
        return self.pooling.bound(length).then(self.affine_bound(gain))

    def rows(self, gain: float | None = None) -> Float[Tensor, "out d"]:
        return self.used_weight(gain)
