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
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.nonlinearities import Nonlinearity
from ssmbench.scans.sequence_parallel import Segments, SequenceParallelScan


class Norm(Enum):
    """Normalisation at a block's entry."""

    none = "none"
    layer = "layer"


class Pooling(Enum):
    """How a sequence becomes one vector."""

    mean = "mean"
    last = "last"


class Block(nn.Module):
    """x + mix(nonlinearity(layer(norm(x)))), all (B, L, d_model)."""

    def __init__(
        self,
        layer: SSMLayer,
        nonlinearity: Nonlinearity,
        *,
        d_model: int,
        norm: Norm = Norm.none,
        mix: bool = True,
        residual: bool = True,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.norm = nn.LayerNorm(d_model) if norm is Norm.layer else nn.Identity()
        self.layer = layer
        self.nonlinearity = nonlinearity
        self.mix = nn.Linear(d_model, d_model) if mix else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.residual = residual

    def forward(self, x: Float[Tensor, "B L d"]) -> Float[Tensor, "B L d"]:
        branch = self.dropout(self.mix(self.nonlinearity(self.layer(self.norm(x)))))
        return x + branch if self.residual else branch

    def bound(self, layer_gain: float) -> Bound:
        """Bound of the block in evaluation, given a bound on its SSM layer's gain."""
        branch = _norm_bound(self.norm).then(_layer_bound(layer_gain))
        branch = branch.then(self.nonlinearity.bound()).then(linear_bound(self.mix))
        return IDENTITY.plus(branch) if self.residual else branch


class SequenceModel(nn.Module):
    """u (B, L, inputs) to y (B, L, outputs) per step, or to (B, outputs) after pooling."""

    def __init__(
        self,
        blocks: Iterable[Block],
        *,
        inputs: int,
        d_model: int,
        outputs: int,
        pooling: Pooling | None = None,
    ):
        super().__init__()
        self.encoder = nn.Linear(inputs, d_model)
        self.blocks = nn.ModuleList(blocks)
        self.pooling = pooling
        self.decoder = nn.Linear(d_model, outputs)
        self.segments: Segments | None = None

    @property
    def layers(self) -> list[SSMLayer]:
        """The SSM layers, first to last."""
        return [block.layer for block in self.blocks]

    def forward(self, u: Float[Tensor, "B L inputs"]) -> Float[Tensor, B * out]:
        if self.segments is not None:
            return self._forward_segment(u, self.segments)
        x = self._features(u)
        if self.pooling is Pooling.mean:
            x = x.mean(1)
        elif self.pooling is Pooling.last:
            x = x[:, -1]
        return self.decoder(x)

    def _features(self, u: Tensor) -> Tensor:
        x = self.encoder(u)
        for block in self.blocks:
            x = block(x)
        return x

    def _forward_segment(self, u: Tensor, segments: Segments) -> Tensor:
        """The same output on every rank, each having kept only its segment's features."""
        length = u.shape[1]
        x = self._features(segments.take(u))
        if self.pooling is None:
            return segments.join(self.decoder(x), length)
        if self.pooling is Pooling.mean:
            return self.decoder(segments.sum(x.sum(1)) / length)
        return self.decoder(segments.gather(x[:, -1].contiguous())[-1])

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

    def bound(self, layer_gains: Sequence[float], length: int) -> Bound:
        """Incremental gain from u to the output in l2, for sequences of ``length`` steps.

        ``layer_gains`` bounds the gain of each SSM layer. Biases are allowed: they cancel in
        differences.
        """
        total = linear_bound(self.encoder)
        for block, gain in zip(self.blocks, layer_gains, strict=True):
            total = total.then(block.bound(gain))
        if self.pooling is Pooling.mean:  # |mean_t x_t| <= ||x|| / sqrt(L), by Cauchy-Schwarz
            total = total.then(Bound(1 / math.sqrt(length)))
        return total.then(linear_bound(self.decoder))

    def parameter_count(self) -> int:
        """Trainable real numbers."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def is_finite(module: nn.Module) -> bool:
    """Whether every parameter is a finite number."""
    return all(bool(torch.isfinite(p).all()) for p in module.parameters())


def linear_bound(module: nn.Module) -> Bound:
    """Spectral norm of a linear map's weight, in double precision."""
    if isinstance(module, nn.Identity):
        return IDENTITY
    weight = module.weight.detach().double()
    if not torch.isfinite(weight).all():
        return Bound.none("a weight is not finite")
    return Bound(torch.linalg.matrix_norm(weight, 2).item())


def _norm_bound(module: nn.Module) -> Bound:
    if isinstance(module, nn.Identity):
        return IDENTITY
    return Bound.none("LayerNorm divides by the signal's spread, which may vanish")


def _layer_bound(gain: float) -> Bound:
    return Bound(gain) if math.isfinite(gain) else Bound.none("an SSM layer is unstable")
