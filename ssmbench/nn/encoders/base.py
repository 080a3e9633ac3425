"""The base class of encoders: maps from a task's input to features, step by step."""

from __future__ import annotations

from typing import Any, ClassVar

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from ssmbench.analysis.certificate import Bound
from ssmbench.analysis.network_bound.shifted import ShiftedMap
from ssmbench.nn.bounds import reset_unless_defined
from ssmbench.nn.not_lowered import not_lowered
from ssmbench.program import Builder
from ssmbench.spec import Channels, SequenceSpec


class Encoder(nn.Module):
    """Maps an input to features (B, L, d_model); built as ``factory(config, input=, length=,
    d_model=)``.

    ``input``: the kind of one sequence. ``length``: the steps of the task's longest training
    sequence. A class derived from this one takes these three as keywords.
    """

    #: The inputs that it takes.
    accepts: ClassVar[tuple[type[SequenceSpec], ...]] = (Channels,)
    #: Lipschitz constant in l2 that holds for all parameter values; None if there is none.
    lipschitz: ClassVar[float | None] = None
    #: Whether it maps zero to zero for all parameter values, as zero-state gains need.
    maps_zero_to_zero: bool = False
    #: Why :meth:`bound` gives none; "" if it follows from the weights.
    unbounded_reason: ClassVar[str] = "the encoder declares no Lipschitz constant"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        reset_unless_defined(cls, Encoder, ("forward", "bound", "lipschitz"), "shifted")
        reset_unless_defined(cls, Encoder, ("forward",), "maps_zero_to_zero")
        reset_unless_defined(cls, Encoder, ("forward",), "lower")

    def forward(self, u: Shaped[Tensor, "B L ..."], start: int = 0) -> Float[Tensor, "B L d"]:
        """Features of u: (B, L, channels) of real numbers, or (B, L) of tokens.

        ``start``: the number of steps before u, if u is a later chunk of a stream or a segment of a
        longer sequence.
        """
        raise NotImplementedError

    def lower(self, to: Builder, u: int) -> int:
        """Add the encoder of the input u to an exported network; gives the index of its output.

        Raises:
            UsageError: it has no form in plain operations; it names those that have one.
        """
        raise not_lowered(self, Encoder)

    def check_length(self, steps: int) -> None:
        """Raise a UsageError unless sequences of so many steps can be encoded."""

    def bound(self) -> Bound:
        """A bound on the Lipschitz constant for the present parameters."""
        if self.lipschitz is None:
            return Bound.none(self.unbounded_reason)
        return Bound(self.lipschitz)

    def shifted(self, channels: int, width: int) -> ShiftedMap | None:
        """The encoder of a signal as a linear map and slope-bounded remainders; None if it has no
        finite bound. By default what :meth:`bound` says."""
        bound = self.bound()
        return ShiftedMap.of_lipschitz(bound.value, channels, width) if bound.finite else None

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """The class's facts as plain values."""
        by_weights = cls.lipschitz is None and not cls.unbounded_reason
        words = "of its weights" if by_weights else f"none: {cls.unbounded_reason}"
        return {
            "accepts": ", ".join(kind.__name__.lower() for kind in cls.accepts),
            "lipschitz": words if cls.lipschitz is None else cls.lipschitz,
        }
