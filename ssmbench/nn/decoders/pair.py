"""The decoder of pairs of sequences, whose features come from the same network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ssmbench.nn.decoders.base import PoolingDecoder
from ssmbench.nn.pooling import Pooling
from ssmbench.options import COUNT, one_of, option
from ssmbench.registry import decoders
from ssmbench.spec import Reading, TaskSizes

_ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu, "gelu_tanh": partial(F.gelu, approximate="tanh")}


@dataclass
class PairConfig:
    """``hidden``: width of the hidden layer; 0 means d_model. ``activation``: the function between
    the layers; S4's code has gelu, S5's its approximation by tanh."""

    hidden: int = option(0, COUNT)
    activation: str = option("relu", one_of(*_ACTIVATIONS), added=2)


@decoders.register(
    "pair",
    config=PairConfig,
    citation="Tay et al. 2020, Long Range Arena, arXiv 2011.04006 (two documents); the features "
    "[a, b, a - b, a * b] and one hidden layer as in S4, Gu et al. 2022, arXiv 2111.00396",
)
class Pair(PoolingDecoder):
    """W2 s(W1 [a, b, a - b, a * b] + c1) + c2, where a and b are the pooled vectors and
    s is the activation."""

    reads = Reading.pair
    unbounded_reason = "the pair decoder multiplies the two encodings: its slope grows with them"

    def __init__(self, config: PairConfig, *, sizes: TaskSizes, d_model: int, pooling: Pooling):
        super().__init__()
        width = config.hidden or d_model
        self.hidden = nn.Linear(4 * d_model, width)
        self.readout = nn.Linear(width, sizes.outputs)
        self.pooling = pooling
        self.activation = _ACTIVATIONS[config.activation]

    def read(
        self, vectors: Float[Tensor, "R d"], gain: float | None = None
    ) -> Float[Tensor, "B out"]:
        a, b = vectors.unflatten(0, (-1, 2)).unbind(1)
        features = torch.cat([a, b, a - b, a * b], -1)
        return self.readout(self.activation(self.hidden(features)))
