"""The base class of nonlinearities: maps of one time step with a declared Lipschitz constant."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

from ssmbench.analysis.certificate import Bound
from ssmbench.analysis.network_bound.shifted import Pointwise, ShiftedMap
from ssmbench.nn.bounds import reset_unless_defined
from ssmbench.nn.not_lowered import not_lowered
from ssmbench.program import Builder

#: Around a turn of a slope, and what is added to a slope: near a smooth extremum the slope differs
#: from it by less.
_TURN, _SLOPE = 1e-3, 1e-6


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
    #: Of such a map: where its slope has an extremum or jumps, to 1e-3; between these points it is
    #: monotone. None if they are not known.
    turns: ClassVar[tuple[float, ...] | None] = None
    #: Of such a map: a Lipschitz constant of its slope; None if it jumps, or if none is known.
    curvature: ClassVar[float | None] = None

    def __init__(self, config: Any, *, d_model: int):
        super().__init__()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        anew = ("forward", "bound", "lipschitz", "slopes")
        reset_unless_defined(cls, Nonlinearity, anew, "shifted")
        reset_unless_defined(cls, Nonlinearity, anew[:3], "slopes")
        reset_unless_defined(cls, Nonlinearity, anew, "turns")
        reset_unless_defined(cls, Nonlinearity, anew, "curvature")
        reset_unless_defined(cls, Nonlinearity, ("forward",), "maps_zero_to_zero")
        reset_unless_defined(cls, Nonlinearity, ("forward",), "lower")

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """The class's facts as plain values."""
        known = cls.lipschitz is not None
        return {"lipschitz": cls.lipschitz if known else f"none: {cls.why_unbounded}"}

    def lower(self, to: Builder, x: int) -> int:
        """Add the map of the value x to an exported network; gives the index of its output.

        Raises:
            UsageError: it has no form in plain operations; it names those that have one.
        """
        raise not_lowered(self, Nonlinearity)

    def bound(self) -> Bound:
        """The declared constant as a bound."""
        if self.lipschitz is None:
            return Bound.none(self.why_unbounded)
        return Bound(self.lipschitz)

    def shifted(self, width: int) -> ShiftedMap | None:
        """The map of ``width`` channels as a linear one and slope-bounded remainders, for the
        present parameters; None if it has no finite bound.

        By default what :attr:`slopes` say, or :meth:`bound`.
        """
        if self.slopes is not None:
            shifted = ShiftedMap.of_slopes(*self.slopes, width)
            if self.turns is None or not shifted.remainders:
                return shifted
            middle = sum(self.slopes) / 2
            return replace(
                shifted, pointwise=Pointwise(middle, self.slopes_between, self.curvature)
            )
        bound = self.bound()
        return ShiftedMap.of_lipschitz(bound.value, width, width) if bound.finite else None

    def slopes_between(
        self, low: Float64[np.ndarray, "*shape"], high: Float64[np.ndarray, "*shape"]
    ) -> tuple[Float64[np.ndarray, "*shape"], Float64[np.ndarray, "*shape"]]:
        """Bounds on the slopes in intervals, from below and from above, by :attr:`slopes` and
        :attr:`turns`: a slope that is monotone between turns is extremal at an end or at a turn."""
        assert self.slopes is not None
        assert self.turns is not None
        ends = [low, high]
        for turn in self.turns:
            inside = (low - _TURN <= turn) & (turn <= high + _TURN)
            ends += [np.where(inside, turn + side, low) for side in (-_TURN, 0.0, _TURN)]
        found = self._slopes_at(np.stack(ends))
        least, largest = found.min(0) - _SLOPE, found.max(0) + _SLOPE
        return np.maximum(least, self.slopes[0]), np.minimum(largest, self.slopes[1])

    def _slopes_at(self, points: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
        x = torch.from_numpy(points).requires_grad_()
        with torch.enable_grad():
            y = self(x)
            (slope,) = torch.autograd.grad(y.sum(), x)
        return slope.numpy()
