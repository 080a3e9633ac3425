"""What a nonlinearity is: a map of one time step, and its Lipschitz constant or why it has none."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from ssmbench.analysis.certificate import Bound


class Nonlinearity(nn.Module):
    """A map of (B, L, d_model) to itself, built as ``factory(config, d_model=...)``."""

    #: Declared Lipschitz constant in l2; None where there is none, with ``why_unbounded``.
    lipschitz: ClassVar[float | None] = None
    why_unbounded: ClassVar[str] = "the nonlinearity declares no Lipschitz constant"

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
