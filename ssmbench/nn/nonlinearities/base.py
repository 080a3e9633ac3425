"""The base class of nonlinearities: maps of one time step with a declared Lipschitz constant."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from ssmbench.analysis.certificate import Bound


class Nonlinearity(nn.Module):
    """A map from (B, L, d_model) to (B, L, d_model); built as ``factory(config, d_model=...)``."""

    #: Declared Lipschitz constant in l2; None if there is none, for the reason ``why_unbounded``.
    lipschitz: ClassVar[float | None] = None
    why_unbounded: ClassVar[str] = "the nonlinearity declares no Lipschitz constant"
    #: Whether it maps zero to zero for all parameter values, as zero-state gains need.
    maps_zero_to_zero: bool = False

    def __init__(self, config: Any, *, d_model: int):
        super().__init__()

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """The class's facts as plain values."""
        known = cls.lipschitz is not None
        return {"lipschitz": cls.lipschitz if known else f"none: {cls.why_unbounded}"}

    def bound(self) -> Bound:
        """The declared constant as a bound."""
        if self.lipschitz is None:
            return Bound.none(self.why_unbounded)
        return Bound(self.lipschitz)
