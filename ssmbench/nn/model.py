"""The network: encoder, blocks, decoder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from ssmbench.analysis.certificate import IDENTITY, Bound
from ssmbench.errors import require
from ssmbench.nn.block import Block
from ssmbench.nn.bounds import linear_bound
from ssmbench.nn.layer import SSMLayer, check_rate
from ssmbench.nn.lengths import check_lengths, mask_steps, valid_steps
from ssmbench.nn.linear import BoundedLinear
from ssmbench.nn.pooling import Pooling
from ssmbench.nn.stream import StreamState
from ssmbench.scans.sequence_parallel import Segments, SequenceParallelScan

#: Why the segments of a sequence on several ranks do not fit a bidirectional network.
NO_SHARING = (
    "a bidirectional network cannot share a sequence among ranks: its reversed scan would need the "
    "segments in reversed order"
)


class SequenceModel(nn.Module):
    """u (B, L, inputs) to y (B, L, outputs) per step, or to (B, outputs) after pooling.

    With a ``gamma`` the incremental gain of the whole is at most gamma for all parameter values:
    the encoder has gain 1, and the decoder what the blocks' declared bounds leave of gamma.

    Raises:
        UsageError: a gamma, and a block that declares no finite bound.
    """

    def __init__(
        self,
        blocks: Iterable[Block],
        *,
        inputs: int,
        d_model: int,
        outputs: int,
        pooling: Pooling | None = None,
        gamma: float | None = None,
    ):
        super().__init__()
        linear = nn.Linear if gamma is None else BoundedLinear
        self.encoder = linear(inputs, d_model)
        self.blocks = nn.ModuleList(blocks)
        self.pooling = pooling
        self.decoder = linear(d_model, outputs)
        self.gamma = gamma
        self.segments: Segments | None = None
        if gamma is not None:
            _check_bounded(gamma, self._declared_blocks())

    @property
    def layers(self) -> list[SSMLayer]:
        """The SSM layers, first to last; a bidirectional block has two, the reverse one second."""
        return [layer for block in self.blocks for layer in block.layers]

    @property
    def bidirectional(self) -> bool:
        """Whether an output depends on inputs to come."""
        return any(block.reverse_layer is not None for block in self.blocks)

    def forward(
        self,
        u: Float[Tensor, "B L inputs"],
        lengths: Shaped[Tensor, ...] | None = None,
        dt: Float[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, B * out]:
        """The prediction; ``lengths`` (B,) are the valid steps of sequences padded at the end, and
        ``dt`` time steps for all SSM layers (:meth:`SSMLayer.forward`).

        What stands in the padding, NaN included, changes no output and no gradient, and has the
        gradient zero. Pooling is over valid steps; outputs per step are zero beyond them.

        Raises:
            UsageError: lengths of another shape, or outside 1..L; a dt that a layer cannot take, or
                one for a network that is bidirectional or has a ``gamma``.
        """
        self._check_steps(dt)
        if lengths is not None:
            check_lengths(lengths, *u.shape[:2])
            valid = valid_steps(lengths, u.shape[1])
            u, dt = mask_steps(u, valid), dt if dt is None else torch.where(valid, dt, 1)
        if self.segments is not None:
            return self._forward_segment(u, lengths, dt, self.segments)
        return self._read(self._features(u, lengths, dt), lengths)

    def _read(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """The prediction from features (B, L, d_model)."""
        total, pooling = x.shape[1], self.pooling
        if pooling is None:
            y = self._decode(x)
            return y if lengths is None else mask_steps(y, valid_steps(lengths, total))
        steps = None if lengths is None else pooling.steps(lengths, total)
        pooled = pooling.divide(pooling.sum(x, steps), total if lengths is None else lengths)
        return self._decode(pooled)

    def stream(
        self, u: Float[Tensor, "B L inputs"], state: StreamState | None = None
    ) -> tuple[Float[Tensor, B * out], StreamState]:
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
        x, finals = self.encoder(u), []
        for block, x0 in zip(self.blocks, before.layers, strict=True):
            x, final = block.stream(x, x0)
            finals.append(final)
        steps, total = before.steps + u.shape[1], None
        if self.pooling is not None:
            total = self.pooling.add(before.total, self.pooling.sum(x))
            x = self.pooling.divide(total, steps)
        return self._decode(x), StreamState(tuple(finals), total, steps)

    def _check_stream(self, u: Tensor, state: StreamState | None) -> None:
        require(
            not self.bidirectional,
            "a bidirectional network cannot be streamed: its first output depends on the last "
            "input",
        )
        require(self.segments is None, "a sequence shared among ranks cannot be streamed")
        require(u.shape[1] > 0, "a chunk of a stream needs at least one step")
        found = len(self.blocks if state is None else state.layers)
        require(
            found == len(self.blocks),
            f"a stream's state needs one entry a layer: {len(self.blocks)}, got {found}",
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

    def _decode(self, x: Tensor) -> Tensor:
        if self.gamma is None:
            return self.decoder(x)
        return self.decoder(x, self._decoder_gain())

    def _decoder_gain(self) -> float:
        return self.gamma / self._declared_blocks().value

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

    def _features(self, u: Tensor, lengths: Tensor | None, dt: Tensor | None) -> Tensor:
        x = self.encoder(u)
        for block in self.blocks:
            x = block(x, lengths, dt)
        return x

    def _forward_segment(
        self, u: Tensor, lengths: Tensor | None, dt: Tensor | None, segments: Segments
    ) -> Tensor:
        """The same output on every rank, each having kept only its segment's features."""
        length = u.shape[1]
        x = self._features(segments.take(u), None, None if dt is None else segments.take(dt))
        if self.pooling is None:
            y = segments.join(self._decode(x), length)
            return y if lengths is None else mask_steps(y, valid_steps(lengths, length))
        every = torch.full((len(u),), length, device=u.device) if lengths is None else lengths
        steps = segments.take(self.pooling.steps(every, length))
        pooled = segments.sum(self.pooling.sum(x, steps))
        return self._decode(self.pooling.divide(pooled, length if lengths is None else lengths))

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
        """Incremental gain from u to the output in l2, for sequences of ``length`` steps.

        ``layer_gains`` bounds the gain of each of :attr:`layers`, None for a time-varying one.
        Biases and initial states are allowed: they cancel in differences. Of padded sequences,
        ``length`` is the shortest's.
        """
        gains = dict(zip(self.layers, layer_gains, strict=True))
        total = linear_bound(self.encoder)
        for block in self.blocks:
            together = [gains[layer] for layer in block.layers]
            total = total.then(block.bound(None if None in together else sum(together)))
        if self.pooling is not None:
            total = total.then(self.pooling.bound(length))
        scale = 1.0 if self.gamma is None else self._decoder_gain()
        return total.then(linear_bound(self.decoder)).then(Bound(scale))

    def parameter_count(self) -> int:
        """Trainable real numbers."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def _undeclared(index: int) -> Bound:
    return Bound.none(f"the SSM layer of block {index} declares no gain")


def _check_bounded(gamma: float, blocks: Bound) -> None:
    require(0 < gamma < math.inf, f"model.gamma: must be positive, got {gamma}")
    require(blocks.finite, f"model.gamma: no finite certificate because {blocks.reason}")
