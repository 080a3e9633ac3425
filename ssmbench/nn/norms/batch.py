"""Batch normalisation of sequences, over the valid steps of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ssmbench.analysis.certificate import Bound
from ssmbench.lengths import mask_steps, valid_steps
from ssmbench.nn.norms.base import Norm, largest
from ssmbench.options import FRACTION, POSITIVE, option
from ssmbench.registry import norms


@dataclass
class BatchNormConfig:
    """``eps``: added to the variance. ``momentum``: the share of the present batch in the running
    statistics, 0.1 where flax writes 0.9."""

    eps: float = option(1e-5, POSITIVE, added=2)
    momentum: float = option(0.1, FRACTION, added=2)


@norms.register(
    "batch", config=BatchNormConfig, citation="Ioffe and Szegedy 2015, arXiv 1502.03167"
)
class BatchNorm(Norm):
    """(x - mean) / sqrt(variance + eps) per channel, over all steps of a batch; scaled and shifted.

    In training, mean and variance are those of the batch's valid steps, and running averages of
    them are kept, of the unbiased variance as in torch.nn.BatchNorm1d. In evaluation the running
    averages are used: a fixed affine map of each channel, whose Lipschitz constant is the largest
    |w| / sqrt(variance + eps). It says nothing about training mode. Where several ranks train
    together, each uses the statistics of its own sequences, and the running averages are those of
    the first rank.
    """

    why_unbounded = ""  # its constant follows from its weights and the running variance
    reads_batch = True

    mean: Tensor
    variance: Tensor

    def __init__(self, config: BatchNormConfig, *, d_model: int):
        super().__init__(config, d_model=d_model)
        self.eps, self.momentum = config.eps, config.momentum
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))
        self.register_buffer("mean", torch.zeros(d_model))
        self.register_buffer("variance", torch.ones(d_model))

    def forward(
        self, x: Float[Tensor, "B L d"], lengths: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B L d"]:
        mean, variance = self.mean, self.variance
        if self.training and x.numel() > 0:
            mean, variance = self._of_batch(x, lengths)
        return (x - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias

    def _of_batch(
        self, x: Float[Tensor, "B L d"], lengths: Int[Tensor, " B"] | None
    ) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
        """Mean and variance over the valid steps, of which the running averages take note."""
        if lengths is None:
            lengths = torch.full((len(x),), x.shape[1], device=x.device)
        steps, count = valid_steps(lengths, x.shape[1]), lengths.sum().to(x.dtype)
        mean = mask_steps(x, steps).sum((0, 1)) / count
        variance = mask_steps(x - mean, steps).square().sum((0, 1)) / count
        with torch.no_grad():
            unbiased = variance * (count / (count - 1).clamp_min(1))
            self.mean.lerp_(mean.to(self.mean.dtype), self.momentum)
            self.variance.lerp_(unbiased.to(self.variance.dtype), self.momentum)
        return mean, variance

    def bound(self) -> Bound:
        return largest(self.weight * torch.rsqrt(self.variance + self.eps))
