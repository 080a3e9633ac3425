"""Batch normalisation of sequences, over the valid steps of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ssmbench.analysis.certificate import Bound
from ssmbench.analysis.network_bound.enclosed import Enclosed
from ssmbench.analysis.network_bound.shifted import ShiftedMap
from ssmbench.lengths import mask_steps, valid_steps
from ssmbench.nn.norms.base import Norm, largest
from ssmbench.options import FRACTION, POSITIVE, one_of, option
from ssmbench.program import Builder
from ssmbench.registry import norms


@dataclass
class BatchNormConfig:
    """``eps``: added to the variance. ``momentum``: the share of the present batch in the running
    statistics, 0.1 where flax writes 0.9. ``affine``: whether a weight and a bias follow.

    ``variance`` of a batch in the running average: unbiased, as in PyTorch, or biased, as in flax
    and equinox. ``training``: the statistics that normalise in training, those of the batch or, as
    in equinox 0.11, the running averages with this batch in them, which begin as those of the first
    batch; gradients then flow through the present batch's share only."""

    eps: float = option(1e-5, POSITIVE, added=2)
    momentum: float = option(0.1, FRACTION, added=2)
    affine: bool = option(True, added=2)
    variance: str = option("unbiased", one_of("unbiased", "biased"), added=2)
    training: str = option("batch", one_of("batch", "running"), added=2)


@norms.register(
    "batch", config=BatchNormConfig, citation="Ioffe and Szegedy 2015, arXiv 1502.03167"
)
class BatchNorm(Norm):
    """(x - mean) / sqrt(variance + eps) per channel, over all steps of a batch; scaled and shifted.

    In training, mean and variance are those of the batch's valid steps, and running averages of
    them are kept, as in torch.nn.BatchNorm1d. In evaluation the running
    averages are used: a fixed affine map of each channel, whose Lipschitz constant is the largest
    |w| / sqrt(variance + eps). It says nothing about training mode. Where several ranks train
    together, each uses the statistics of its own sequences, and the running averages are those of
    the first rank.
    """

    why_unbounded = ""  # its constant follows from its weights and the running variance
    reads_batch = True

    mean: Tensor
    variance: Tensor
    started: Tensor
    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(self, config: BatchNormConfig, *, d_model: int):
        super().__init__(config, d_model=d_model)
        self.eps, self.momentum = config.eps, config.momentum
        self.biased, self.by_running = config.variance == "biased", config.training == "running"
        affine = config.affine
        self.register_parameter("weight", nn.Parameter(torch.ones(d_model)) if affine else None)
        self.register_parameter("bias", nn.Parameter(torch.zeros(d_model)) if affine else None)
        self.register_buffer("mean", torch.zeros(d_model))
        self.register_buffer("variance", torch.ones(d_model))
        if self.by_running:
            self.register_buffer("started", torch.tensor(False))

    def forward(
        self, x: Float[Tensor, "B L d"], lengths: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B L d"]:
        mean, variance = self.mean, self.variance
        if self.training and x.numel() > 0:
            mean, variance = self._of_batch(x, lengths)
        normalised = (x - mean) * torch.rsqrt(variance + self.eps)
        if self.weight is None or self.bias is None:
            return normalised
        return normalised * self.weight + self.bias

    def _of_batch(
        self, x: Float[Tensor, "B L d"], lengths: Int[Tensor, " B"] | None
    ) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
        """Mean and variance that normalise in training; the running averages take note of those
        over the valid steps."""
        if lengths is None:
            lengths = torch.full((len(x),), x.shape[1], device=x.device)
        steps, count = valid_steps(lengths, x.shape[1]), lengths.sum().to(x.dtype)
        mean = mask_steps(x, steps).sum((0, 1)) / count
        variance = mask_steps(x - mean, steps).square().sum((0, 1)) / count
        kept = variance if self.biased else variance * (count / (count - 1).clamp_min(1))
        running = self._averaged(self.mean, mean), self._averaged(self.variance, kept)
        with torch.no_grad():
            self.mean.copy_(running[0])
            self.variance.copy_(running[1])
            if self.by_running:
                self.started = torch.ones_like(self.started)  # the graph may hold the former one
        return running if self.by_running else (mean, variance)

    def _averaged(self, running: Float[Tensor, " d"], batch: Float[Tensor, " d"]) -> Tensor:
        """The running average with this batch in it, without changing ``running``."""
        batch = batch.to(running.dtype)
        average = torch.lerp(running, batch, self.momentum)
        return torch.where(self.started, average, batch) if self.by_running else average

    def _factors(self) -> Float[Tensor, " d"]:
        """What each channel is multiplied by in evaluation."""
        inverse = torch.rsqrt(self.variance + self.eps)
        return inverse if self.weight is None else self.weight * inverse

    def lower(self, to: Builder, x: int) -> int:
        factors = self._factors()
        offset = -self.mean * factors
        return to.scale(x, factors, offset if self.bias is None else offset + self.bias)

    def bound(self) -> Bound:
        return largest(self._factors())

    def shifted(self, width: int) -> ShiftedMap | None:
        if not self.bound().finite:
            return None
        return ShiftedMap.of_matrix(Enclosed.of(torch.diag(self._factors())))
