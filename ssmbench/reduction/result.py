"""What a reducer returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor

from ssmbench.systems import DiscreteLTI

#: The relative error to which an H-infinity norm is measured.
MEASURED_TO = 1e-8


@dataclass(frozen=True)
class Reduction:
    """A smaller system and how far it is from the given one, head by head; figures in float64.

    ``system``: in the precision of the given system. Heads of lower order than others are padded
    with states that no input reaches. ``order``: that of each given head, n, conjugates counted.
    ``hankel`` (H, n): Hankel singular values of the given system, largest first. ``orders`` (H,):
    those of the reduced heads. ``bound`` (H,): of the H-infinity error, by the reducer's theorem,
    in exact arithmetic. The returned matrices are rounded, and their error may exceed it, which
    ``above_bound`` says: ``hinf_error``, ``h2_error`` (H,) are measured, of these matrices. A
    certificate takes what :func:`ssmbench.reduction.proved_error` proves of them, and neither.
    """

    system: DiscreteLTI
    order: int
    hankel: Float[Tensor, "H n"]
    orders: Int[Tensor, " H"]
    bound: Float[Tensor, " H"]
    hinf_error: Float[Tensor, " H"]
    h2_error: Float[Tensor, " H"]

    @property
    def above_bound(self) -> Bool[Tensor, " H"]:
        """The heads of which the measured error of the returned matrices exceeds the bound."""
        return self.hinf_error > self.bound * (1 + MEASURED_TO)

    @property
    def removed(self) -> float:
        """The share of states that was removed, over all heads, conjugate modes counted."""
        total = self.order * len(self.orders)
        return 1 - int(self.orders.sum()) / total if total else 0.0

    @property
    def states(self) -> int:
        """The states that a scan stores for each head; a conjugate pair is one of them."""
        return self.system.states

    def to_dict(self) -> dict[str, Any]:
        """Plain values of the whole layer, for tables and JSON; heads act on separate channels, so
        that the error of all is the largest."""
        return {
            "order": self.order,
            "largest_order_kept": int(self.orders.max()),
            "smallest_order_kept": int(self.orders.min()),
            "removed": self.removed,
            "states": self.states,
            "bound": float(self.bound.max()),
            "above_bound": int(self.above_bound.sum()),
            "hinf_error": float(self.hinf_error.max()),
            "h2_error": float(self.h2_error.max()),
        }
