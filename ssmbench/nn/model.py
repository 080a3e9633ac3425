"""The network: encoder, blocks of [norm, SSM layer, nonlinearity, mixing, residual], decoder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum

import torch
from jaxtyping import Float, Inexact, Int, Shaped
from torch import Tensor, nn

from ssmbench.analysis.certificate import IDENTITY, Bound
from ssmbench.errors import require
from ssmbench.nn.layer import SSMLayer, check_rate
from ssmbench.nn.lengths import check_lengths, last_steps, only, reversed_time, valid_steps
from ssmbench.nn.linear import BoundedLinear
from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.nn.stream import StreamState
from ssmbench.scans.sequence_parallel import Segments, SequenceParallelScan

#: Why the segments of a sequence on several ranks do not fit a bidirectional network.
NO_SHARING = (
    "a bidirectional network cannot share a sequence among ranks: its reversed scan would need the "
    "segments in reversed order"
)
#: Why a time-varying SSM layer has no incremental gain.
NO_CONSTANT = "an SSM layer is time-varying, and its selectivity has no global Lipschitz constant"


class Norm(Enum):
    """Normalisation at a block's entry."""

    none = "none"
    layer = "layer"


class Pooling(Enum):
    """How a sequence becomes one vector; ``unit`` is the sum / sqrt(L), whose l2 gain is 1."""

    mean = "mean"
    last = "last"
    unit = "unit"


class Residual(Enum):
    """What joins a block's branch f: x + f(x), (1 - a) x + a f(x) with a learned a, or nothing."""

    add = "add"
    convex = "convex"
    none = "none"


class Block(nn.Module):
    """x + mix(nonlinearity(layer(norm(x)))), all (B, L, d_model).

    A ``bounded`` block's mixing has spectral norm 1. With a ``reverse_layer``, layer(x) stands for
    layer(x) plus what the reverse layer makes of x in reversed time, turned back.
    """

    def __init__(
        self,
        layer: SSMLayer,
        nonlinearity: Nonlinearity,
        *,
        d_model: int,
        norm: Norm = Norm.none,
        mix: bool = True,
        residual: Residual = Residual.add,
        dropout: float = 0.0,
        bounded: bool = False,
        reverse_layer: SSMLayer | None = None,
    ):
        super().__init__()
        self.norm = nn.LayerNorm(d_model) if norm is Norm.layer else nn.Identity()
        self.layer = layer
        self.reverse_layer = reverse_layer
        self.nonlinearity = nonlinearity
        linear = BoundedLinear if bounded else nn.Linear
        self.mix = linear(d_model, d_model) if mix else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.residual = residual
        if residual is Residual.convex:
            self.share = nn.Parameter(torch.zeros(()))  # a = sigmoid(share)

    @property
    def layers(self) -> list[SSMLayer]:
        """The SSM layer, and the reverse one where there is one."""
        return [self.layer] if self.reverse_layer is None else [self.layer, self.reverse_layer]

    def declared_gain(self) -> float | None:
        """What the SSM layers together promise: gains of maps that are added add up."""
        gains = [layer.declared_gain() for layer in self.layers]
        return None if None in gains else sum(gains)

    def forward(
        self,
        x: Float[Tensor, "B L d"],
        lengths: Int[Tensor, " B"] | None = None,
        dt: Float[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "B L d"]:
        """``lengths``: steps from which time is reversed; beyond them nothing reaches back.

        ``dt``: see :meth:`SSMLayer.forward`; for layers in one direction only.
        """
        v = self.norm(x)
        y = self.layer(v, dt)
        if self.reverse_layer is not None:
            y = y + reversed_time(self.reverse_layer(reversed_time(v, lengths)), lengths)
        return self._join(x, y)

    def stream(
        self, x: Float[Tensor, "B L d"], x0: Inexact[Tensor, ...] | None
    ) -> tuple[Float[Tensor, "B L d"], Inexact[Tensor, "B H N"]]:
        """Output, and the SSM layer's state after x, from its state x0 (B, H, N) before."""
        y, final = self.layer.run(self.norm(x), x0)
        return self._join(x, y), final

    def _join(self, x: Tensor, y: Tensor) -> Tensor:
        branch = self.dropout(self.mix(self.nonlinearity(y)))
        if self.residual is Residual.convex:
            return torch.lerp(x, branch, torch.sigmoid(self.share))
        return x + branch if self.residual is Residual.add else branch

    def bound(self, layer_gain: float | None) -> Bound:
        """Bound of the block in evaluation, given one on the gain of its SSM layers together; None
        where that is time-varying."""
        varies = any(layer.time_varying for layer in self.layers)
        layer = Bound.none(NO_CONSTANT) if varies else _layer_bound(layer_gain)
        branch = _norm_bound(self.norm).then(layer)
        branch = branch.then(self.nonlinearity.bound()).then(linear_bound(self.mix))
        if self.residual is Residual.convex:
            share = torch.sigmoid(self.share.detach().double()).item()
            if math.isnan(share):
                return Bound.none("a weight is not finite")
            return Bound(1 - share).plus(Bound(share).then(branch))
        return IDENTITY.plus(branch) if self.residual is Residual.add else branch


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
            u, dt = only(u, valid), dt if dt is None else torch.where(valid, dt, 1)
        if self.segments is not None:
            return self._forward_segment(u, lengths, dt, self.segments)
        x = self._features(u, lengths, dt)
        if lengths is not None:
            return self._read_valid(x, lengths)
        if self.pooling is Pooling.last:
            x = x[:, -1]
        elif self.pooling is not None:
            x = x.sum(1) / _divisor(self.pooling, u.shape[1])
        return self._decode(x)

    def _read_valid(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The prediction from features (B, L, d_model) of padded sequences."""
        if self.pooling is None:
            return only(self._decode(x), valid_steps(lengths, x.shape[1]))
        pooled = only(x, _pooled_steps(self.pooling, lengths, x.shape[1])).sum(1)
        return self._decode(pooled / _divisors(self.pooling, lengths.to(x.dtype)))

    def stream(
        self, u: Float[Tensor, "B L inputs"], state: StreamState | None = None
    ) -> tuple[Float[Tensor, B * out], StreamState]:
        """The next chunk of a signal, of any length, and the state to go on from.

        Chunk by chunk the outputs per step are those of the whole signal at once; a pooled network
        gives the prediction for everything up to here. Gradients flow through the state
        (:meth:`StreamState.detach` cuts them). Each call makes the layers' systems anew from the
        parameters; for many short chunks :func:`ssmbench.training.measure.freeze` the network.

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
        if self.pooling is Pooling.last:
            x = x[:, -1]
        elif self.pooling is not None:
            total = x.sum(1) if before.total is None else before.total + x.sum(1)
            x = total / _divisor(self.pooling, steps)
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
            return y if lengths is None else only(y, valid_steps(lengths, length))
        if lengths is not None:
            steps = segments.take(_pooled_steps(self.pooling, lengths, length))
            pooled = segments.sum(only(x, steps).sum(1))
            return self._decode(pooled / _divisors(self.pooling, lengths.to(x.dtype)))
        if self.pooling is Pooling.last:
            return self._decode(segments.gather(x[:, -1].contiguous())[-1])
        return self._decode(segments.sum(x.sum(1)) / _divisor(self.pooling, length))

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
        if self.pooling in (Pooling.mean, Pooling.unit):  # |sum_t x_t| <= sqrt(L) ||x||
            total = total.then(Bound(math.sqrt(length) / _divisor(self.pooling, length)))
        scale = 1.0 if self.gamma is None else self._decoder_gain()
        return total.then(linear_bound(self.decoder)).then(Bound(scale))

    def parameter_count(self) -> int:
        """Trainable real numbers."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def _divisor(pooling: Pooling, length: int) -> float:
    return float(length) if pooling is Pooling.mean else math.sqrt(length)


def _divisors(pooling: Pooling, lengths: Tensor) -> Tensor:
    """What a sum over :func:`_pooled_steps` is divided by, (B, 1)."""
    if pooling is Pooling.last:
        return torch.ones_like(lengths)[:, None]
    return lengths[:, None] if pooling is Pooling.mean else lengths[:, None].sqrt()


def _pooled_steps(pooling: Pooling, lengths: Tensor, total: int) -> Tensor:
    """Which steps (B, L) of padded sequences are pooled."""
    chosen = last_steps if pooling is Pooling.last else valid_steps
    return chosen(lengths, total)


def _undeclared(index: int) -> Bound:
    return Bound.none(f"the SSM layer of block {index} declares no gain")


def _check_bounded(gamma: float, blocks: Bound) -> None:
    require(0 < gamma < math.inf, f"model.gamma: must be positive, got {gamma}")
    require(blocks.finite, f"model.gamma: no finite certificate because {blocks.reason}")


def is_finite(module: nn.Module) -> bool:
    """Whether every parameter is a finite number."""
    return all(bool(torch.isfinite(p).all()) for p in module.parameters())


def linear_bound(module: nn.Module) -> Bound:
    """Spectral norm of a linear map's weight, in double precision."""
    if isinstance(module, nn.Identity):
        return IDENTITY
    if not torch.isfinite(module.weight).all():  # no singular values to be had
        return Bound.none("a weight is not finite")
    bounded = isinstance(module, BoundedLinear)
    weight = (module.effective_weight() if bounded else module.weight).detach().double()
    return Bound(torch.linalg.matrix_norm(weight, 2).item())


def _norm_bound(module: nn.Module) -> Bound:
    if isinstance(module, nn.Identity):
        return IDENTITY
    return Bound.none("LayerNorm divides by the signal's spread, which may vanish")


def _layer_bound(gain: float) -> Bound:
    return Bound(gain) if math.isfinite(gain) else Bound.none("an SSM layer is unstable")
