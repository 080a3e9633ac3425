"""The base class of nonlinearities: maps of one time step with a declared Lipschitz constant."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from ssmbench.analysis.certificate import Bound
from ssmbench.analysis.network_bound.shifted import ShiftedMap
from ssmbench.nn.bounds import reset_unless_defined


class Nonlinearity(nn.Module):
    """A map from (B, L, d_model) to (B, L, d_model); built as ``factory(config, d_model=...)``."""

    #: Declared Lipschitz constant in l2; None if there is none, for the reason ``why_unbounded``.
    lipschitz: ClassVar[float | None] = None
    why_unbounded: ClassVar[str] = "the nonlinearity declares no Lipschitz constant"
    #: Whether it maps zero to zero for all parameter values, as zero-state gains need.
    maps_zero_to_zero: bool = False
    #: Of a map of each number by itself: an interval that holds all its slopes, for the tighter
    #: bound of a network; None of other maps, or if it is not known.
    slopes: ClassVar[tuple[float, float] | None] = None

    def __init__(self, config: Any, *, d_model: int):
        super().__init__()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        anew = ("forward", "bound", "lipschitz", "slopes")
        reset_unless_defined(cls, Nonlinearity, anew, "shifted")
        reset_unless_defined(cls, Nonlinearity, anew[:3], "slopes")
        reset_unless_defined(cls, Nonlinearity, ("forward",), "maps_zero_to_zero")

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

    def shifted(self, width: int) -> ShiftedMap | None:
        """The map of ``width`` channels as a linear one and slope-bounded rests, for the present
        parameters; None if it has no finite bound.

        By default what :attr:`slopes` say, or :meth:`bound`.
        """
        if self.slopes is not None:
            return ShiftedMap.of_slopes(*self.slopes, width)
        bound = self.bound()
        return ShiftedMap.of_lipschitz(bound.value, width, width) if bound.finite else None
