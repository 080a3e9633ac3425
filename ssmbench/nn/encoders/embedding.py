"""Encoders of tokens: a learned vector for each token, alone or with one for its position."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ssmbench.errors import UsageError, require
from ssmbench.nn.encoders.base import Encoder
from ssmbench.options import option
from ssmbench.program import Builder
from ssmbench.registry import encoders
from ssmbench.spec import Tokens

#: Wavelengths of sinusoidal positions go up to 2 pi times this (Vaswani et al. 2017, section 3.5).
_LONGEST = 10_000.0


@dataclass
class EmbeddingConfig:
    """``unit_norm``: divide each token's vector by its l2 norm, so that a sequence of L tokens has
    the norm sqrt(L) whatever the weights are."""

    unit_norm: bool = option(False, added=2)


@encoders.register("embedding", config=EmbeddingConfig)
class Embedding(Encoder, nn.Embedding):
    """A learned vector for each token; the SSM layers depend on the order."""

    accepts = (Tokens,)
    unbounded_reason = "tokens have no norm: gains refer to the encoded input"

    def __init__(self, config: EmbeddingConfig, *, input: Tokens, length: int, d_model: int):
        nn.Embedding.__init__(self, input.vocabulary, d_model)
        self.unit_norm = config.unit_norm

    def forward(self, u: Int64[Tensor, "B L"], start: int = 0) -> Float[Tensor, "B L d"]:
        """Raises a UsageError if a token is not in the vocabulary."""
        try:
            vectors = nn.Embedding.forward(self, u)
        except IndexError:
            low, high, size = int(u.min()), int(u.max()), self.num_embeddings
            raise UsageError(
                f"tokens must be in 0..{size - 1}, the task's vocabulary; got {low}..{high}"
            ) from None
        return F.normalize(vectors, dim=-1) if self.unit_norm else vectors

    def lower(self, to: Builder, u: int) -> int:
        return to.lookup(u, F.normalize(self.weight, dim=-1) if self.unit_norm else self.weight)


class Positions(Enum):
    """``sinusoidal`` positions are fixed, for any length; ``learned`` ones end with the task's
    length."""

    sinusoidal = "sinusoidal"
    learned = "learned"


@dataclass
class PositionsConfig:
    """``positions``: sinusoidal or learned."""

    positions: Positions = Positions.sinusoidal


@encoders.register(
    "embedding_positions",
    config=PositionsConfig,
    citation="Vaswani et al. 2017, Attention Is All You Need, arXiv 1706.03762, section 3.5",
)
class EmbeddingWithPositions(Embedding):
    """A learned vector for each token, plus one for its position in the sequence."""

    #: Learned positions (length, d_model); None if they are sinusoidal.
    positions: nn.Parameter | None

    def __init__(self, config: PositionsConfig, *, input: Tokens, length: int, d_model: int):
        super().__init__(EmbeddingConfig(), input=input, length=length, d_model=d_model)
        learned = config.positions is Positions.learned
        table = nn.Parameter(torch.randn(length, d_model)) if learned else None
        self.register_parameter("positions", table)

    def forward(self, u: Int64[Tensor, "B L"], start: int = 0) -> Float[Tensor, "B L d"]:
        """Raises a UsageError if a sequence is longer than the learned positions."""
        end = start + u.shape[1]
        self.check_length(end)
        return super().forward(u) + self._positions(start, end)

    def _positions(self, start: int, end: int) -> Float[Tensor, "L d"]:
        if self.positions is None:
            return sinusoidal(start, end, self.weight)
        return self.positions[start:end]

    def check_length(self, steps: int) -> None:
        """As long as the learned positions."""
        if self.positions is None:
            return
        require(
            steps <= len(self.positions),
            f"embedding_positions: a sequence of {steps} steps has no learned positions beyond "
            f"{len(self.positions)}, the task's length; choose positions=sinusoidal",
        )


def sinusoidal(start: int, end: int, like: Float[Tensor, "_ d"]) -> Float[Tensor, "L d"]:
    """sin and cos of position / 10000^(2i / d), alternating (Vaswani et al. 2017, section 3.5)."""
    d_model = like.shape[1]
    position = torch.arange(start, end, device=like.device, dtype=torch.float64)
    rate = torch.arange(0, d_model, 2, device=like.device, dtype=torch.float64) / d_model
    angle = position[:, None] * torch.exp(-math.log(_LONGEST) * rate)
    waves = torch.stack([torch.sin(angle), torch.cos(angle)], -1).flatten(1)
    return waves[:, :d_model].to(like.dtype)
