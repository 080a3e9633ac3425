"""The network: encoder, blocks, decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ssmbench.errors import require
from ssmbench.lengths import check_lengths, mask_steps, valid_steps
from ssmbench.nn.blocks.base import Block
from ssmbench.nn.contracts import (
    FirstUse,
    check_block,
    check_decoded,
    check_encoded,
    check_norm,
)
from ssmbench.nn.decoders.base import Decoder
from ssmbench.nn.encoders.base import Encoder
from ssmbench.nn.framing import Framing
from ssmbench.nn.norms.base import Norm
from ssmbench.nn.pairs import join_pairs, split_pairs
from ssmbench.nn.parts import NetworkParts
from ssmbench.nn.relaxation import Relaxation
from ssmbench.nn.sampling import check_uneven_network
from ssmbench.nn.sharing import check_sharing, scans_shared
from ssmbench.nn.stream import StreamState, check_stream
from ssmbench.scans.sequence_parallel import Segments
from ssmbench.spec import TaskSizes


class SequenceModel(NetworkParts):
    """Maps an input u to y (B, L, outputs) per step, or to y (B, outputs) per sequence.

    u is (B, L, channels) of real numbers or (B, L) of tokens, as the ``encoder`` takes it; for a
    ``decoder`` that reads pairs, (B, 2, L, channels) or (B, 2, L). With a ``framing``, several
    samples of u are one step of the network.

    With a ``gamma``, the gain of the network is at most gamma for all parameter values: the encoder
    has gain 1, and the decoder has gamma divided by the declared gain of the blocks. It is the
    incremental gain, or the zero-state gain where an SSM layer declares no other
    (:attr:`gain_claim`). With a ``relaxation``, a proved bound of the whole network may keep gamma
    in place of that product (:attr:`declared_gain`).

    What the encoder and the decoder return is checked when they are first used, also against
    ``d_model`` and the task's ``sizes`` if these are given.

    Raises:
        UsageError: there is a gamma, and a part declares no finite bound; or a relaxation, and no
            gamma, or one of a zero-state gain.
    """

    def __init__(
        self,
        blocks: Iterable[Block],
        *,
        encoder: Encoder,
        decoder: Decoder,
        final_norm: Norm | None = None,
        framing: Framing | None = None,
        gamma: float | None = None,
        relaxation: Relaxation | None = None,
        d_model: int | None = None,
        sizes: TaskSizes | None = None,
    ):
        super().__init__(
            blocks,
            encoder=encoder,
            decoder=decoder,
            final_norm=final_norm,
            framing=framing,
            gamma=gamma,
            relaxation=relaxation,
            sizes=sizes,
        )
        self._d_model = d_model
        self._first_use = FirstUse()
        self.segments: Segments | None = None

    def forward(
        self,
        u: Shaped[Tensor, "B ..."],
        lengths: Shaped[Tensor, ...] | None = None,
        dt: Float[Tensor, ...] | None = None,
    ) -> Float[Tensor, " B *out"]:
        """The prediction. ``lengths`` (B,): the valid steps of sequences padded at the end. ``dt``
        (B, L): time steps for all SSM layers (:meth:`SSMLayer.forward`). For pairs of sequences,
        lengths are (B, 2) and dt is (B, 2, L).

        Values in the padding, NaN included, influence no output and no gradient, and their own
        gradient is zero. Pooling is over valid steps; outputs per step are zero after them.

        Raises:
            UsageError: lengths of another shape, or outside 1..L; a dt that a layer cannot take, or
                one for a network that is bidirectional or has a ``gamma``.
        """
        rows, lengths, dt = self._frames(u, lengths, dt)
        return self._predict(self._encoded, rows, lengths, dt)

    def encode(
        self, u: Shaped[Tensor, "B ..."], lengths: Shaped[Tensor, ...] | None = None
    ) -> Float[Tensor, "B L d"]:
        """The encoded input (B, L, d_model), zero in the padding; for pairs of sequences, both
        encodings as channels of one signal, (B, L, 2 d_model)."""
        rows, lengths, _ = self._frames(u, lengths, None)
        x = self._encoded(rows)
        if lengths is not None:
            x = mask_steps(x, valid_steps(lengths, x.shape[1]))
        return join_pairs(x) if self.reads_pairs else x

    def from_encoded(
        self,
        x: Float[Tensor, "B L d"],
        lengths: Shaped[Tensor, ...] | None = None,
        dt: Float[Tensor, ...] | None = None,
    ) -> Float[Tensor, " B *out"]:
        """The prediction for an encoded input, as :meth:`encode` gives it.

        ``lengths`` and ``dt`` as in :meth:`forward`, but counted in frames. Raises what it
        raises.
        """
        rows, lengths, dt = self._rows(split_pairs(x) if self.reads_pairs else x, lengths, dt)
        return self._predict(lambda rows, start=0: rows, rows, lengths, dt)

    def as_input(self, u: Shaped[Tensor, "B ..."]) -> Shaped[Tensor, "B ..."]:
        """u on the network's device, real numbers in its precision."""
        like = next(p for p in self.parameters() if p.is_floating_point())
        return u.to(like) if u.is_floating_point() else u.to(like.device)

    def _rows(
        self, signal: Tensor, lengths: Tensor | None, dt: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The single sequences, two for each pair, with their lengths and time steps; in the
        padding signals are zero and time steps are 1."""
        if dt is not None:
            check_uneven_network(bidirectional=self.bidirectional, certified=self.gamma is not None)
        if self.reads_pairs:
            signal = signal.flatten(0, 1)
            lengths = None if lengths is None else lengths.flatten()
            dt = None if dt is None else dt.flatten(0, 1)
        if lengths is None:
            return signal, None, dt
        check_lengths(lengths, *signal.shape[:2])
        valid = valid_steps(lengths, signal.shape[1])
        return mask_steps(signal, valid), lengths, dt if dt is None else torch.where(valid, dt, 1)

    def _frames(
        self, signal: Tensor, lengths: Tensor | None, dt: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """As :meth:`_rows`, in frames."""
        rows, lengths, dt = self._rows(signal, lengths, dt)
        if self.framing.samples == 1:
            return rows, lengths, dt
        lengths = None if lengths is None else self.framing.lengths(lengths)
        dt = None if dt is None else self.framing.time_steps(dt, tuple(rows.shape[:2]))
        return self.framing.signal(rows), lengths, dt

    def _encoded(self, rows: Tensor, start: int = 0) -> Tensor:
        x = self.encoder(rows, start)
        self._first_use.check("encoder", check_encoded, self.encoder, rows, x, self._d_model)
        return x

    def _decoded(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        y = self.decoder(x, lengths, **self.decoder_gain())
        self._first_use.check("decoder", check_decoded, self.decoder, x, y, self._sizes)
        return y

    def _predict(
        self,
        encode: Callable[[Tensor, int], Tensor],
        rows: Tensor,
        lengths: Tensor | None,
        dt: Tensor | None,
    ) -> Tensor:
        """The prediction; the same on every rank where ranks share a sequence, although each
        computes the features of its own segment only."""
        segments, length = self.segments, rows.shape[1]
        if segments is None:
            x = self._features(encode(rows, 0), lengths, dt)
            return self._decoded(x, lengths)
        dt = None if dt is None else segments.take(dt)
        x = self._features(encode(segments.take(rows), segments.start(length)), None, dt)
        return self.decoder.read_segment(x, lengths, length, segments, **self.decoder_gain())

    def stream(
        self, u: Shaped[Tensor, "B ..."], state: StreamState | None = None
    ) -> tuple[Float[Tensor, " B *out"], StreamState]:
        """The prediction for the next chunk of a signal, of any length, and the state after it.

        Predictions per step are those for the whole signal at once; a pooled network gives the
        prediction for the signal up to the end of the chunk. Gradients flow through the state
        (:meth:`StreamState.detach` stops them). Each call computes the layers' systems from the
        parameters; for many short chunks, :func:`ssmbench.nn.freeze.freeze` the network first.

        Raises:
            UsageError: the network is bidirectional, the sequence is shared among ranks, the chunk
                is empty, or the state has the wrong number of layers or the wrong shape.
        """
        self._check_stream(u)
        before = StreamState((None,) * len(self.blocks)) if state is None else state
        check_stream(before, len(self.blocks))
        rows, _, _ = self._frames(u, None, None)
        x, finals = self._encoded(rows, before.steps), []
        for block, x0 in zip(self.blocks, before.layers, strict=True):
            x, final = block.stream(x, x0)
            finals.append(final)
        x = self._finally_normalised(x, None)
        steps = before.steps + x.shape[1]
        y, total = self.decoder.stream(x, before.total, steps, **self.decoder_gain())
        return y, StreamState(tuple(finals), total, steps)

    def _check_stream(self, u: Tensor) -> None:
        require(
            not self.bidirectional,
            "a bidirectional network cannot be streamed: its first output depends on the last "
            "input",
        )
        require(self.segments is None, "a sequence shared among ranks cannot be streamed")
        length = u.shape[2 if self.reads_pairs else 1]
        require(length > 0, "a chunk of a stream needs at least one step")
        self.framing.check_chunk(length)

    def _features(self, x: Tensor, lengths: Tensor | None, dt: Tensor | None) -> Tensor:
        for index, block in enumerate(self.blocks):
            y = block(x, lengths, dt)
            self._first_use.check(f"block {index}", check_block, block, x, y)
            x = y
        return self._finally_normalised(x, lengths)

    def _finally_normalised(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        y = self.final_norm(x, lengths)
        self._first_use.check("final norm", check_norm, self.final_norm, x, y)
        return y

    @contextmanager
    def sharing(self, segments: Segments) -> Iterator[None]:
        """A context in which ranks share sequences: every rank is given whole sequences, and
        computes the features of its own segment only.

        Raises:
            UsageError: the network is bidirectional, a norm reads the whole batch, or a block reads
                earlier steps outside its SSM layers.
        """
        check_sharing(self)
        self.segments = segments
        try:
            with scans_shared(self.layers, segments):
                yield
        finally:
            self.segments = None
