"""Balanced truncation, and its variant that keeps the response to a constant input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ssmbench.reduction.balanced_form import BalancedForm
from ssmbench.reduction.base import Prepared, Reducer
from ssmbench.registry import NoOptions, reducers
from ssmbench.systems import DiscreteDense, DiscreteLTI


@dataclass(frozen=True)
class Truncated(Prepared):
    """The first states of the balanced form."""

    balanced: BalancedForm
    bounds: Float[Tensor, "H n_plus_1"]

    @property
    def losses(self) -> Float[Tensor, "H n_plus_1"]:
        return torch.where(self.bounds.isfinite(), self.balanced.largest_removed(), torch.inf)

    def at(self, orders: Int[Tensor, " H"]) -> DiscreteDense:
        whole = self.balanced.system
        largest = max(int(orders.max()), 1)
        kept = torch.arange(largest, device=orders.device) < orders[:, None]
        A, B, C = whole.A[:, :largest, :largest], whole.B[:, :largest], whole.C[..., :largest]
        return DiscreteDense(
            A=A * kept[:, :, None] * kept[:, None],
            B=B * kept[:, :, None],
            C=C * kept[:, None],
            D=whole.D,
        )


@reducers.register(
    "balanced_truncation",
    citation="Moore 1981; discrete time: Al-Saggaf and Franklin 1987",
)
class BalancedTruncation(Reducer):
    """Keeps the states of largest Hankel singular values; the error is at most twice the sum of
    those removed."""

    def __init__(self, config: NoOptions):
        super().__init__(config)

    def prepare(self, system: DiscreteLTI, balanced: BalancedForm) -> Prepared:
        return Truncated(balanced, balanced.tail_bounds())
