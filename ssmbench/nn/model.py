"""The network: encoder, blocks of [norm, SSM layer, nonlinearity, mixing, residual], decoder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssmbench.analysis.certificate import IDENTITY, Bound
from ssmbench.errors import require
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.linear import BoundedLinear
from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.scans.sequence_parallel import Segments, SequenceParallelScan

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

    A ``bounded`` block's mixing has spectral norm 1.
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
    ):
        super().__init__()
        self.norm = nn.LayerNorm(d_model) if norm is Norm.layer else nn.Identity()
        self.layer = layer
        self.nonlinearity = nonlinearity
        linear = BoundedLinear if bounded else nn.Linear
        self.mix = linear(d_model, d_model) if mix else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.residual = residual
        if residual is Residual.convex:
            self.share = nn.Parameter(torch.zeros(()))  # a = sigmoid(share)

    def forward(
        self, x: Float[Tensor, "B L d"], dt: Float[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "B L d"]:
        branch = self.dropout(self.mix(self.nonlinearity(self.layer(self.norm(x), dt))))
        if self.residual is Residual.convex:
            return torch.lerp(x, branch, torch.sigmoid(self.share))
        return x + branch if self.residual is Residual.add else branch

    def bound(self, layer_gain: float | None) -> Bound:
        """Bound of the block in evaluation, given a bound on its SSM layer's gain; None where that
        is time-varying."""
        varies = self.layer.time_varying
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
        """The SSM layers, first to last."""
        return [block.layer for block in self.blocks]

    def forward(
        self, u: Float[Tensor, "B L inputs"], dt: Float[Tensor, "B L"] | None = None
    ) -> Float[Tensor, B * out]:
        """The prediction; ``dt`` are time steps for all SSM layers (:meth:`SSMLayer.forward`).

        Raises:
            UsageError: a dt that a layer cannot take, or one for a network with a ``gamma``.
        """
        even = dt is None or self.gamma is None
        require(even, "dt: model.gamma is a certificate for even steps only")
        if self.segments is not None:
            return self._forward_segment(u, dt, self.segments)
        x = self._features(u, dt)
        if self.pooling is Pooling.last:
            x = x[:, -1]
        elif self.pooling is not None:
            x = x.sum(1) / _divisor(self.pooling, u.shape[1])
        return self._decode(x)

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
            gain = block.layer.declared_gain()
            known = gain is not None or block.layer.time_varying
            bound = block.bound(gain) if known else _undeclared(index)
            total = total.then(bound)
        return total

    def _features(self, u: Tensor, dt: Tensor | None) -> Tensor:
        x = self.encoder(u)
        for block in self.blocks:
            x = block(x, dt)
        return x

    def _forward_segment(self, u: Tensor, dt: Tensor | None, segments: Segments) -> Tensor:
        """The same output on every rank, each having kept only its segment's features."""
        length = u.shape[1]
        x = self._features(segments.take(u), None if dt is None else segments.take(dt))
        if self.pooling is None:
            return segments.join(self._decode(x), length)
        if self.pooling is Pooling.last:
            return self._decode(segments.gather(x[:, -1].contiguous())[-1])
        return self._decode(segments.sum(x.sum(1)) / _divisor(self.pooling, length))

    @contextmanager
    def sharing(self, segments: Segments) -> Iterator[None]:
        """Within: inputs are whole sequences on every rank, features only this rank's segment."""
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

        ``layer_gains`` bounds the gain of each SSM layer; None for a time-varying one. Biases are
        allowed: they cancel in differences.
        """
        total = linear_bound(self.encoder)
        for block, gain in zip(self.blocks, layer_gains, strict=True):
            total = total.then(block.bound(gain))
        if self.pooling in (Pooling.mean, Pooling.unit):  # |sum_t x_t| <= sqrt(L) ||x||
            total = total.then(Bound(math.sqrt(length) / _divisor(self.pooling, length)))
        scale = 1.0 if self.gamma is None else self._decoder_gain()
        return total.then(linear_bound(self.decoder)).then(Bound(scale))

    def parameter_count(self) -> int:
        """Trainable real numbers."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def _divisor(pooling: Pooling, length: int) -> float:
    return float(length) if pooling is Pooling.mean else math.sqrt(length)


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
