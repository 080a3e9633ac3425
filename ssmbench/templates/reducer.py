from dataclasses import dataclass

import torch

from ssmbench.reduction.balanced_form import BalancedForm
from ssmbench.reduction.balanced_truncation import Truncated
from ssmbench.reduction.base import Prepared, Reducer
from ssmbench.registry import reducers
from ssmbench.systems import DiscreteLTI


@dataclass
class EvenOrdersConfig:
    """``step``: orders that are kept are multiples of it, as kernels with vectors of that width
    like them."""

    step: int = 2


@reducers.register("even_orders", config=EvenOrdersConfig, citation="this work")
class EvenOrders(Reducer):
    """Balanced truncation to orders that are multiples of a number."""

    proves_bounds = True  # False if they are estimates

    def prepare(self, system: DiscreteLTI, balanced: BalancedForm) -> Prepared:
        bounds = balanced.tail_bounds()  # (H, n + 1): of the error with 0 .. n states kept
        orders = torch.arange(bounds.shape[1])
        allowed = (orders % self.config.step == 0) | (orders == bounds.shape[1] - 1)
        return Truncated(balanced, torch.where(allowed, bounds, torch.inf))
