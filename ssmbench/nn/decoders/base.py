"""The base classes of decoders: maps from the features of a whole sequence to the prediction."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ssmbench.analysis.certificate import Bound
from ssmbench.errors import UsageError
from ssmbench.nn.bounds import reset_unless_defined
from ssmbench.nn.not_lowered import not_lowered
from ssmbench.nn.pooling import Pooling
from ssmbench.program import Builder
from ssmbench.scans.sequence_parallel import Segments
from ssmbench.spec import Reading


class Decoder(nn.Module):
    """Maps features (R, L, d_model) to a prediction; built as ``factory(config, sizes=, d_model=,
    pooling=)``.

    R is the size of the batch; for pairs of sequences it is twice that, and the features of the
    k-th pair are the rows 2k and 2k + 1. A class derived from this one takes ``sizes``
    (:class:`~ssmbench.spec.TaskSizes`), ``d_model`` and ``pooling`` as keywords.

    ``gain`` is given to a decoder with :attr:`takes_gain` in a network with a ``gamma``: the
    decoder's incremental l2 gain, from features to prediction, must then be at most this.
    """

    #: What a prediction is made from.
    reads: ClassVar[Reading]
    #: Whether its incremental gain can be prescribed.
    takes_gain: ClassVar[bool] = False
    #: Whether it maps zero to zero for all parameter values, as zero-state gains need.
    maps_zero_to_zero: bool = False
    #: Why :meth:`bound` gives none; "" if it follows from the weights.
    unbounded_reason: ClassVar[str] = "the decoder declares no Lipschitz constant"
    #: How it pools a sequence to one vector; None if it does not, or in another way.
    pooling: Pooling | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        anew = ("forward", "read", "affine", "bound")
        reset_unless_defined(cls, Decoder, anew, "rows")
        reset_unless_defined(cls, Decoder, anew[:3], "maps_zero_to_zero")
        reset_unless_defined(cls, Decoder, (*anew[:3], "stream"), "lower")

    def forward(
        self,
        x: Float[Tensor, "R L d"],
        lengths: Int[Tensor, " R"] | None = None,
        gain: float | None = None,
    ) -> Float[Tensor, "B *steps out"]:
        """The prediction from whole sequences; ``lengths`` are the valid steps of padded ones.

        Features in the padding are finite, and must not influence the prediction. Predictions per
        step must be zero in the padding.
        """
        raise NotImplementedError

    def stream(
        self,
        x: Float[Tensor, "R L d"],
        carried: Tensor | None,
        steps: int,
        gain: float | None = None,
    ) -> tuple[Float[Tensor, "B *steps out"], Tensor | None]:
        """The prediction at the end of a chunk x of a signal, and the state for the next chunk.

        ``steps``: the steps of the signal up to the end of this chunk. ``carried``: the state from
        the previous chunk; None for the first.

        Raises:
            UsageError: the decoder needs the whole sequence at once.
        """
        raise UsageError(f"{type(self).__name__} cannot be streamed: it reads a whole sequence")

    def read_segment(
        self,
        x: Float[Tensor, "R l d"],
        lengths: Int[Tensor, " R"] | None,
        length: int,
        segments: Segments,
        gain: float | None = None,
    ) -> Float[Tensor, "B *steps out"]:
        """The prediction, on every rank, if the ``length`` steps of a sequence are divided among
        ranks. By default each rank gathers the features of all.
        """
        return self(segments.join(x, length), lengths, gain)

    def lower(self, to: Builder, x: int, gain: float | None) -> int:
        """Add the decoder of the features x to an exported network; gives the index of its output.

        Raises:
            UsageError: it has no form in plain operations; it names those that have one.
        """
        raise not_lowered(self, Decoder)

    def bound(self, length: int, gain: float | None = None) -> Bound:
        """A bound on the incremental gain in l2, for sequences of ``length`` steps."""
        return Bound.none(self.unbounded_reason)

    def rows(self, gain: float | None = None) -> Float[Tensor, "out d"] | None:
        """The matrix of the affine map from a step's features, or from the pooled ones, to the
        prediction, with gradients; None if the decoder is no such map."""
        return None

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """The class's facts as plain values."""
        bounded = "of its weights" if not cls.unbounded_reason else f"none: {cls.unbounded_reason}"
        return {"reads": cls.reads.value, "lipschitz": bounded, "takes_gain": cls.takes_gain}


class PoolingDecoder(Decoder):
    """A decoder of pooled vectors. Derived classes set :attr:`pooling` and define :meth:`read`."""

    pooling: Pooling

    def read(
        self, vectors: Float[Tensor, "R d"], gain: float | None = None
    ) -> Float[Tensor, "B out"]:
        """The prediction from one vector for each sequence."""
        raise NotImplementedError

    def forward(
        self,
        x: Float[Tensor, "R L d"],
        lengths: Int[Tensor, " R"] | None = None,
        gain: float | None = None,
    ) -> Float[Tensor, "B out"]:
        total = x.shape[1]
        steps = None if lengths is None else self.pooling.steps(lengths, total)
        pooled = self.pooling.sum(x, steps)
        return self.read(self.pooling.divide(pooled, total if lengths is None else lengths), gain)

    def stream(
        self,
        x: Float[Tensor, "R L d"],
        carried: Float[Tensor, "R d"] | None,
        steps: int,
        gain: float | None = None,
    ) -> tuple[Float[Tensor, "B out"], Float[Tensor, "R d"]]:
        """The prediction for the signal up to the end of the chunk, and the sum so far."""
        total = self.pooling.add(carried, self.pooling.sum(x))
        return self.read(self.pooling.divide(total, steps), gain), total

    def read_segment(
        self,
        x: Float[Tensor, "R l d"],
        lengths: Int[Tensor, " R"] | None,
        length: int,
        segments: Segments,
        gain: float | None = None,
    ) -> Float[Tensor, "B out"]:
        """The prediction from the sums over the steps of each rank."""
        valid = full_lengths(x, length) if lengths is None else lengths
        steps = segments.take(self.pooling.steps(valid, length))
        pooled = segments.sum(self.pooling.sum(x, steps))
        return self.read(self.pooling.divide(pooled, length if lengths is None else lengths), gain)


def full_lengths(x: Float[Tensor, "R l d"], length: int) -> Int[Tensor, " R"]:
    """``length`` for each sequence."""
    return x.new_full((len(x),), length, dtype=torch.int64)
