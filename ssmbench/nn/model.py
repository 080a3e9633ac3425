"""The network: encoder, blocks, decoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import cast

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from ssmbench.analysis.certificate import IDENTITY, Bound
from ssmbench.errors import require
from ssmbench.lengths import check_lengths, mask_steps, valid_steps
from ssmbench.nn.block import Block
from ssmbench.nn.bounds import total_gain
from ssmbench.nn.contracts import FirstUse, check_decoded, check_encoded
from ssmbench.nn.decoders.base import Decoder
from ssmbench.nn.encoders.base import Encoder
from ssmbench.nn.layer import SSMLayer, check_rate
from ssmbench.nn.pairs import apart, side_by_side
from ssmbench.nn.pooling import Pooling
from ssmbench.nn.stream import StreamState
from ssmbench.scans.sequence_parallel import Segments, SequenceParallelScan
from ssmbench.spec import Channels, Reading, TaskSizes

#: Why the segments of a sequence on several ranks do not fit a bidirectional network.
NO_SHARING = (
    "a bidirectional network cannot share a sequence among ranks: its reversed scan would need the "
    "segments in reversed order"
)


class GainsFrom(Enum):
    """What a network's gains refer to."""

    input = "input"
    encoded = "encoded input"


class SequenceModel(nn.Module):
    """An input u to y (B, L, outputs) per step, or to (B, outputs) for each whole sequence.

    u is (B, L, channels) of real numbers or (B, L) of tokens, as the ``encoder`` takes it; for a
    ``decoder`` that reads pairs, (B, 2, L, channels) or (B, 2, L).

    With a ``gamma`` the incremental gain of the whole is at most gamma for all parameter values:
    the encoder has gain 1, and the decoder what the blocks' declared bounds leave of gamma.

    What the encoder and the decoder return is checked on their first use: against ``d_model`` and
    the task's ``sizes`` too, where these are given.

    Raises:
        UsageError: a gamma, and a part that declares no finite bound.
    """

    def __init__(
        self,
        blocks: Iterable[Block],
        *,
        encoder: Encoder,
        decoder: Decoder,
        gamma: float | None = None,
        d_model: int | None = None,
        sizes: TaskSizes | None = None,
    ):
        super().__init__()
        self._d_model, self._sizes = d_model, sizes
        self._first_use = FirstUse()
        self.encoder = encoder
        self.blocks = cast("Sequence[Block]", nn.ModuleList(blocks))
        self.decoder = decoder
        self.gamma = gamma
        self.segments: Segments | None = None
        if gamma is not None:
            self._check_bounded(gamma)

    @property
    def layers(self) -> list[SSMLayer]:
        """The SSM layers, first to last; a bidirectional block has two, the reverse one second."""
        return [layer for block in self.blocks for layer in block.layers]

    @property
    def bidirectional(self) -> bool:
        """Whether an output depends on inputs to come."""
        return any(block.reverse_layer is not None for block in self.blocks)

    @property
    def pooling(self) -> Pooling | None:
        """How the decoder makes a vector of a sequence, where it does."""
        return self.decoder.pooling

    @property
    def _pairs(self) -> bool:
        return self.decoder.reads is Reading.pair

    @property
    def gains_from(self) -> GainsFrom:
        """What its gains refer to: tokens have no norm, and a disturbance of a pair of sequences is
        one of their encodings."""
        channels = Channels in self.encoder.accepts and not self._pairs
        return GainsFrom.input if channels else GainsFrom.encoded

    def forward(
        self,
        u: Shaped[Tensor, "B ..."],
        lengths: Shaped[Tensor, ...] | None = None,
        dt: Float[Tensor, ...] | None = None,
    ) -> Float[Tensor, " B *out"]:
        """The prediction; ``lengths`` (B,) are the valid steps of sequences padded at the end, and
        ``dt`` (B, L) time steps for all SSM layers (:meth:`SSMLayer.forward`). Of pairs, lengths
        are (B, 2) and dt is (B, 2, L).

        What is in the padding, NaN included, changes no output and no gradient, and has the
        gradient zero. Pooling is over valid steps; outputs per step are zero beyond them.

        Raises:
            UsageError: lengths of another shape, or outside 1..L; a dt that a layer cannot take, or
                one for a network that is bidirectional or has a ``gamma``.
        """
        rows, lengths, dt = self._rows(u, lengths, dt)
        return self._predict(self._encoded, rows, lengths, dt)

    def encode(
        self, u: Shaped[Tensor, "B ..."], lengths: Shaped[Tensor, ...] | None = None
    ) -> Float[Tensor, "B L d"]:
        """The encoded input, zero in the padding: (B, L, d_model); of a pair both side by side,
        (B, L, 2 d_model)."""
        rows, lengths, _ = self._rows(u, lengths, None)
        x = self._encoded(rows)
        if lengths is not None:
            x = mask_steps(x, valid_steps(lengths, x.shape[1]))
        return side_by_side(x) if self._pairs else x

    def from_encoded(
        self,
        x: Float[Tensor, "B L d"],
        lengths: Shaped[Tensor, ...] | None = None,
        dt: Float[Tensor, ...] | None = None,
    ) -> Float[Tensor, " B *out"]:
        """The prediction for an encoded input, as :meth:`encode` gives it.

        ``lengths`` and ``dt`` as in :meth:`forward`. Raises what it raises.
        """
        rows, lengths, dt = self._rows(apart(x) if self._pairs else x, lengths, dt)
        return self._predict(lambda rows, start=0: rows, rows, lengths, dt)

    def as_input(self, u: Shaped[Tensor, "B ..."]) -> Shaped[Tensor, "B ..."]:
        """u on the network's device, real numbers in its precision."""
        like = next(p for p in self.parameters() if p.is_floating_point())
        return u.to(like) if u.is_floating_point() else u.to(like.device)

    def _rows(
        self, signal: Tensor, lengths: Tensor | None, dt: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Single sequences, two for each pair, with zeros in the padding and steps of 1 there."""
        self._check_steps(dt)
        if self._pairs:
            signal = signal.flatten(0, 1)
            lengths = None if lengths is None else lengths.flatten()
            dt = None if dt is None else dt.flatten(0, 1)
        if lengths is None:
            return signal, None, dt
        check_lengths(lengths, *signal.shape[:2])
        valid = valid_steps(lengths, signal.shape[1])
        return mask_steps(signal, valid), lengths, dt if dt is None else torch.where(valid, dt, 1)

    def _encoded(self, rows: Tensor, start: int = 0) -> Tensor:
        x = self.encoder(rows, start)
        self._first_use.check("encoder", check_encoded, self.encoder, rows, x, self._d_model)
        return x

    def _decoded(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        y = self.decoder(x, lengths, **self._decoder_gain())
        self._first_use.check("decoder", check_decoded, self.decoder, x, y, self._sizes)
        return y

    def _predict(
        self,
        encode: Callable[[Tensor, int], Tensor],
        rows: Tensor,
        lengths: Tensor | None,
        dt: Tensor | None,
    ) -> Tensor:
        """The prediction; where ranks share a sequence, the same on each, which then has only its
        segment's features."""
        segments, length = self.segments, rows.shape[1]
        if segments is None:
            x = self._features(encode(rows, 0), lengths, dt)
            return self._decoded(x, lengths)
        dt = None if dt is None else segments.take(dt)
        x = self._features(encode(segments.take(rows), segments.start(length)), None, dt)
        return self.decoder.read_segment(x, lengths, length, segments, **self._decoder_gain())

    def stream(
        self, u: Shaped[Tensor, "B ..."], state: StreamState | None = None
    ) -> tuple[Float[Tensor, " B *out"], StreamState]:
        """The next chunk of a signal, of any length, and the state to go on from.

        Chunk by chunk the outputs per step are those of the whole signal at once; a pooled network
        gives the prediction for everything up to here. Gradients flow through the state
        (:meth:`StreamState.detach` cuts them). Each call makes the layers' systems anew from the
        parameters; for many short chunks :func:`ssmbench.nn.freeze.freeze` the network.

        Raises:
            UsageError: a bidirectional network, a sequence shared among ranks, an empty chunk, or
                a state that does not fit the network.
        """
        self._check_stream(u, state)
        before = StreamState((None,) * len(self.blocks)) if state is None else state
        rows, _, _ = self._rows(u, None, None)
        x, finals = self._encoded(rows, before.steps), []
        for block, x0 in zip(self.blocks, before.layers, strict=True):
            x, final = block.stream(x, x0)
            finals.append(final)
        steps = before.steps + x.shape[1]
        y, total = self.decoder.stream(x, before.total, steps, **self._decoder_gain())
        return y, StreamState(tuple(finals), total, steps)

    def _check_stream(self, u: Tensor, state: StreamState | None) -> None:
        require(
            not self.bidirectional,
            "a bidirectional network cannot be streamed: its first output depends on the last "
            "input",
        )
        require(self.segments is None, "a sequence shared among ranks cannot be streamed")
        length = u.shape[2 if self._pairs else 1]
        require(length > 0, "a chunk of a stream needs at least one step")
        found = len(self.blocks if state is None else state.layers)
        require(
            found == len(self.blocks),
            f"a stream's state needs one entry per layer: {len(self.blocks)}, got {found}",
        )

    def set_rate(self, rate: float) -> None:
        """Multiply every layer's step size by ``rate``, relative to that of the parameters.

        0.5 for signals that are sampled twice as fast as those of the training.

        Raises:
            UsageError: a discrete parametrization, a frozen network, a rate that is not positive.
        """
        for layer in self.layers:
            check_rate(layer, rate)
        for layer in self.layers:
            layer.rate = rate

    @contextmanager
    def at_rate(self, rate: float) -> Iterator[None]:
        """Within: as :meth:`set_rate` says; afterwards as before. Raises what it raises."""
        before = [layer.rate for layer in self.layers]
        self.set_rate(rate)
        try:
            yield
        finally:
            for layer, old in zip(self.layers, before, strict=True):
                layer.rate = old

    def _decoder_gain(self) -> dict[str, float]:
        """The decoder's keyword where its gain is prescribed."""
        return {} if self.gamma is None else {"gain": self.gamma / self._declared_blocks().value}

    def _declared_blocks(self) -> Bound:
        """Bound of all blocks in a row, from what their SSM layers declare."""
        total = IDENTITY
        for index, block in enumerate(self.blocks):
            gain = block.declared_gain()
            known = gain is not None or any(layer.time_varying for layer in block.layers)
            bound = block.bound(gain) if known else _undeclared(index)
            total = total.then(bound)
        return total

    def _check_steps(self, dt: Tensor | None) -> None:
        require(
            dt is None or not self.bidirectional,
            "dt: a bidirectional network has no steps of their own: those of reversed time differ",
        )
        even = dt is None or self.gamma is None
        require(even, "dt: model.gamma is a certificate for even steps only")

    def _check_bounded(self, gamma: float) -> None:
        require(0 < gamma < math.inf, f"model.gamma: must be positive, got {gamma}")
        parts = {"encoder": self.encoder, "decoder": self.decoder}
        names = {part: type(module).__name__ for part, module in parts.items()}
        encoded = self.gains_from is GainsFrom.encoded
        bounded = encoded or (self.encoder.lipschitz is not None and self.encoder.lipschitz <= 1)
        require(
            bounded,
            f"model.gamma: the encoder {names['encoder']} has no Lipschitz constant of at most 1 "
            "for all parameter values; choose model.encoder=bounded_linear, or null",
        )
        require(
            self.decoder.takes_gain,
            f"model.gamma: the decoder {names['decoder']} takes no gain: "
            f"{self.decoder.unbounded_reason or 'it follows from its weights'}",
        )
        blocks = self._declared_blocks()
        require(blocks.finite, f"model.gamma: no finite certificate because {blocks.reason}")

    def _features(self, x: Tensor, lengths: Tensor | None, dt: Tensor | None) -> Tensor:
        for block in self.blocks:
            x = block(x, lengths, dt)
        return x

    @contextmanager
    def sharing(self, segments: Segments) -> Iterator[None]:
        """Within: inputs are whole sequences on every rank, features only this rank's segment.

        Raises:
            UsageError: a bidirectional network.
        """
        require(not self.bidirectional, NO_SHARING)
        scans = [layer.scan for layer in self.layers]
        self.segments = segments
        for layer, scan in zip(self.layers, scans, strict=True):
            layer.scan = SequenceParallelScan(scan, segments)
        try:
            yield
        finally:
            self.segments = None
            for layer, scan in zip(self.layers, scans, strict=True):
                layer.scan = scan

    def bound(self, layer_gains: Sequence[float | None], length: int) -> Bound:
        """Incremental gain in l2, from what :attr:`gains_from` says to the output, for sequences
        of ``length`` steps.

        ``layer_gains`` bounds the gain of each of :attr:`layers`, None for a time-varying one.
        Biases and initial states are allowed: they cancel in differences. Of padded sequences,
        ``length`` is the shortest's.
        """
        gains = dict(zip(self.layers, layer_gains, strict=True))
        encoded = self.gains_from is GainsFrom.encoded
        total = IDENTITY if encoded else self.encoder.bound()
        for block in self.blocks:
            together = total_gain([gains[layer] for layer in block.layers])
            total = total.then(block.bound(together))
        return total.then(self.decoder.bound(length, **self._decoder_gain()))

    def parameter_count(self) -> int:
        """Trainable real numbers."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def _undeclared(index: int) -> Bound:
    return Bound.none(f"the SSM layer of block {index} declares no gain")
