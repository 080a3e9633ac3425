"""How much of a system is kept."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ssmbench.errors import require

_KINDS = (
    ("tolerance", numbers.Real, "a number"),
    ("order", numbers.Integral, "a whole number"),
    ("share", numbers.Real, "a number"),
)


@dataclass(frozen=True)
class Amount:
    """Exactly one of three numbers; with ``joint`` also two.

    ``tolerance``: the largest bound on the H-infinity error of each head, from which the order of
    each follows; with ``relative``, as a share of the largest Hankel singular value of all heads.
    With ``measured`` it limits the measured error, mostly far below the bound, instead.
    ``order``: the largest order of each head, conjugate modes counted. ``share``: the least share
    of each head's order that is removed; with ``joint``, of the orders of all heads together, of
    which those keep more that would lose more, up to ``order`` if that is given too.

    Raises:
        UsageError: none or several are given, or one is out of its range.
    """

    tolerance: float | None = None
    order: int | None = None
    share: float | None = None
    relative: bool = False
    measured: bool = False
    joint: bool = False

    def __post_init__(self) -> None:
        for name, kinds, allowed in _KINDS:
            value = getattr(self, name)
            fits = value is None or (isinstance(value, kinds) and not isinstance(value, bool))
            require(fits, f"{name}: must be {allowed}, got {value!r}")
        values = {"tolerance": self.tolerance, "order": self.order, "share": self.share}
        given = [name for name, value in values.items() if value is not None]
        found = " and ".join(given) or "none"
        both = self.joint and given == ["order", "share"]
        require(
            len(given) == 1 or both, f"allowed: one of tolerance, order and share; given: {found}"
        )
        require(
            self.tolerance is None or 0 <= self.tolerance < math.inf,
            f"tolerance: must be finite and not negative, got {self.tolerance}",
        )
        require(self.order is None or self.order >= 0, f"order: must be 0 or more: {self.order}")
        require(
            self.share is None or 0 <= self.share < 1, f"share: must be in [0, 1), got {self.share}"
        )
        for name in ("relative", "measured"):
            applies = self.tolerance is not None or not getattr(self, name)
            require(applies, f"{name}: applies to a tolerance only")
        require(self.share is not None or not self.joint, "joint: applies to a share only")

    def limit(self, unit: float) -> float:
        """The tolerance as an absolute number, with the unit of a relative one; infinite if none is
        given."""
        if self.tolerance is None:
            return math.inf
        return self.tolerance * (unit if self.relative else 1.0)

    def orders(self, bounds: Float[Tensor, "H n_plus_1"], unit: float) -> Int[Tensor, " H"]:
        """The order that is kept of each head.

        Args:
            bounds: of the error of each head with 0 .. n states kept, decreasing where finite;
                infinite where so many cannot be kept, as when a conjugate pair would be split.
            unit: of a relative tolerance.
        """
        if self.tolerance is not None:
            limit = bounds.amin(-1).clamp_min(self.limit(unit))
        else:
            limit = bounds[:, : self._largest(bounds.shape[1] - 1) + 1].amin(-1)
        return (bounds <= limit[:, None]).double().argmax(-1)  # the first of the largest

    def capped(self, losses: Float[Tensor, "H n_plus_1"]) -> Float[Tensor, "H n_plus_1"]:
        """Infinite beyond the largest order that is allowed; nothing is changed without one."""
        if self.order is None:
            return losses
        beyond = torch.arange(losses.shape[1], device=losses.device) > self.order
        return torch.where(beyond, torch.inf, losses)

    def _largest(self, order: int) -> int:
        if self.order is not None:
            return min(int(self.order), order)
        assert self.share is not None
        return math.floor((1 - self.share) * order + 1e-9)
