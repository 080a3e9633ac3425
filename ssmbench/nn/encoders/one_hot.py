"""A linear map of one-hot tokens, as in the published code of S5 and LRU."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ssmbench.errors import UsageError, require
from ssmbench.nn.encoders.base import Encoder
from ssmbench.options import COUNT, option
from ssmbench.program import Builder
from ssmbench.registry import encoders
from ssmbench.spec import Tokens


@dataclass
class OneHotConfig:
    """``columns`` of W: 0 for the task's vocabulary; published networks may have more."""

    columns: int = option(0, COUNT)


@encoders.register(
    "one_hot",
    config=OneHotConfig,
    citation="Smith, Warrington, Linderman 2023, S5: lindermanlab/S5 at 3c18fdb, "
    "s5/train_helpers.py, prep_batch, and s5/seq_model.py",
)
class OneHot(Encoder, nn.Linear):
    """W e_u + b, e_u the unit vector of token u: an embedding with a bias that all tokens share."""

    accepts = (Tokens,)
    unbounded_reason = "tokens have no norm: gains refer to the encoded input"

    def __init__(self, config: OneHotConfig, *, input: Tokens, length: int, d_model: int):
        columns = config.columns or input.vocabulary
        require(
            columns >= input.vocabulary,
            f"one_hot: columns must be at least {input.vocabulary}, the task's vocabulary, got "
            f"{columns}",
        )
        nn.Linear.__init__(self, columns, d_model)

    def forward(self, u: Int64[Tensor, "B L"], start: int = 0) -> Float[Tensor, "B L d"]:
        """Raises a UsageError if there is no column for a token."""
        try:
            return F.embedding(u, self.weight.mT) + self.bias
        except IndexError:
            raise UsageError(
                f"tokens must be in 0..{self.in_features - 1}, the columns of one_hot; got "
                f"{int(u.min())}..{int(u.max())}"
            ) from None

    def lower(self, to: Builder, u: int) -> int:
        return to.lookup(u, self.weight.mT + self.bias)
