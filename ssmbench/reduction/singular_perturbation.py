"""Singular perturbation: the weak balanced states follow the others at once."""

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
class Residualised(Prepared):
    """The first states of the balanced form, with the others in their steady state.

    ``x_2 = A_21 x_1 + A_22 x_2 + B_2 u`` is solved for x_2.
    """

    balanced: BalancedForm
    bounds: Float[Tensor, "H n_plus_1"]

    @property
    def losses(self) -> Float[Tensor, "H n_plus_1"]:
        return torch.where(self.bounds.isfinite(), self.balanced.largest_removed(), torch.inf)

    def at(self, orders: Int[Tensor, " H"]) -> DiscreteDense:
        whole, largest = self.balanced.system, max(int(orders.max()), 1)
        places = torch.arange(whole.states, device=orders.device)
        kept = (places < orders[:, None]).to(whole.A.dtype)[:, :, None]
        weak = 1 - kept
        eye = torch.eye(whole.states, dtype=whole.A.dtype, device=whole.A.device)
        settled = weak * torch.linalg.inv(eye - weak * whole.A * weak.mT) * weak.mT
        follow, driven = settled @ whole.A * kept.mT, settled @ whole.B
        return DiscreteDense(
            A=(kept * (whole.A * kept.mT + whole.A @ follow))[:, :largest, :largest],
            B=(kept * (whole.B + whole.A @ driven))[:, :largest],
            C=(whole.C * kept.mT + whole.C @ follow)[..., :largest],
            D=whole.D + whole.C @ driven,
        )


@reducers.register(
    "singular_perturbation",
    citation="Liu and Anderson 1989, Int. J. Control 50:1379",
)
class SingularPerturbation(Reducer):
    """As balanced truncation, with the same bound, but the response to a constant input stays
    exact."""

    def __init__(self, config: NoOptions):
        super().__init__(config)

    def prepare(self, system: DiscreteLTI, balanced: BalancedForm) -> Prepared:
        return Residualised(balanced, balanced.tail_bounds())
