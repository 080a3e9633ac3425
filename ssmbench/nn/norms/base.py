"""The base class of norms: normalisations of a block's input or output, or of the last features."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ssmbench.analysis.certificate import Bound
from ssmbench.analysis.network_bound.shifted import ShiftedMap
from ssmbench.nn.bounds import reset_unless_defined
from ssmbench.nn.not_lowered import not_lowered
from ssmbench.program import Builder


class Norm(nn.Module):
    """A map from (B, L, d_model) to (B, L, d_model); built as ``factory(config, d_model=...)``."""

    #: Declared Lipschitz constant in l2 for all parameter values; None if there is none.
    lipschitz: ClassVar[float | None] = None
    #: Why :meth:`bound` gives none; "" if it follows from the weights.
    why_unbounded: ClassVar[str] = "the norm declares no Lipschitz constant"
    #: Whether it maps zero to zero for all parameter values, as zero-state gains need.
    maps_zero_to_zero: bool = False
    #: Whether an output in training mode depends on the batch's other steps and sequences.
    reads_batch: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        reset_unless_defined(cls, Norm, ("forward", "bound", "lipschitz"), "shifted")
        reset_unless_defined(cls, Norm, ("forward",), "maps_zero_to_zero")
        reset_unless_defined(cls, Norm, ("forward",), "lower")

    def __init__(self, config: Any, *, d_model: int):
        super().__init__()

    def forward(
        self, x: Float[Tensor, "B L d"], lengths: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B L d"]:
        """``lengths``: the valid steps of sequences padded at the end; values in the padding must
        influence no output and no statistic."""
        raise NotImplementedError

    def lower(self, to: Builder, x: int) -> int:
        """Add the norm of the value x to an exported network; gives the index of its output.

        Raises:
            UsageError: it has no form in plain operations; it names those that have one.
        """
        raise not_lowered(self, Norm)

    def bound(self) -> Bound:
        """A bound on the Lipschitz constant in evaluation mode, for the present parameters."""
        if self.lipschitz is None:
            return Bound.none(self.why_unbounded)
        return Bound(self.lipschitz)

    def shifted(self, width: int) -> ShiftedMap | None:
        """The norm in evaluation mode as a linear map and slope-bounded remainders; None if it has
        no finite bound. By default what :meth:`bound` says."""
        bound = self.bound()
        return ShiftedMap.of_lipschitz(bound.value, width, width) if bound.finite else None

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """The class's facts as plain values."""
        by_weights = cls.lipschitz is None and not cls.why_unbounded
        words = "of its weights" if by_weights else f"none: {cls.why_unbounded}"
        return {
            "lipschitz": words if cls.lipschitz is None else cls.lipschitz,
            "reads_batch": cls.reads_batch,
        }


def largest(factors: Float[Tensor, " d"]) -> Bound:
    """The Lipschitz constant of a multiplication of each channel by a factor."""
    if not torch.isfinite(factors).all():
        return Bound.none("a weight is not finite")
    return Bound(factors.detach().double().abs().max().item())
