"""Trivial predictors, whose scores are printed beside every model's: what a model must beat."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float, Float64, Int64, Shaped
from torch import Tensor

from ssmbench.tasks.batch import Batch

Predictor = Callable[[Batch], Tensor]


def always(prediction: Float[Tensor, " outputs"], *, per_step: bool = False) -> Predictor:
    """One prediction for every sequence, or for every step."""

    def predict(batch: Batch) -> Tensor:
        steps = batch.u.shape[1:2] if per_step else ()
        return prediction.float().expand(batch.size, *steps, -1)

    return predict


def majority_class(labels: Int64[Tensor, " n"], classes: int) -> Float[Tensor, " classes"]:
    """Logits that choose the most frequent of ``labels``; the first of equally frequent ones."""
    return torch.bincount(labels, minlength=classes).float()


class NearestNeighbour:
    """The class of the training sequence with the least Euclidean distance; equal lengths only.

    ``u`` (n, L, channels), ``labels`` (n,) of the training split.
    """

    def __init__(self, u: Float[Tensor, "n L c"], labels: Int64[Tensor, " n"], classes: int):
        self.known, self.labels, self.classes = u.flatten(1), labels, classes

    def __call__(self, batch: Batch) -> Float[Tensor, "B classes"]:
        nearest = torch.cdist(batch.u.flatten(1), self.known).argmin(1)
        return torch.nn.functional.one_hot(self.labels[nearest], self.classes).float()


class LinearFilter:
    """The best finite impulse response with an offset, by least squares over the training steps.

    y_t = h_0 u_t + ... + h_{taps-1} u_{t-taps+1} + c; input before the first step counts as zero.
    ``batches``: of the training split, per step; steps that are not scored are left out.
    """

    def __init__(self, batches: Iterable[Batch], taps: int):
        self.taps = taps
        gram: Any = 0.0
        moment: Any = 0.0
        for batch in batches:
            rows, y = batch.scored(self._regressors(batch.u))
            gram, moment = gram + rows.T @ rows, moment + rows.T @ y.double()
        # A ridge at rounding level: inputs with few frequencies do not determine every tap.
        ridge = 1e-10 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        self.response: Float64[Tensor, "rows y"] = torch.linalg.solve(gram + ridge, moment)

    def _regressors(self, u: Float[Tensor, "B L c"]) -> Float64[Tensor, "B L rows"]:
        past = torch.nn.functional.pad(u.double(), (0, 0, self.taps - 1, 0))
        windows = past.unfold(1, self.taps, 1).flatten(2)
        return torch.cat([windows, torch.ones_like(windows[..., :1])], dim=-1)

    def __call__(self, batch: Batch) -> Float[Tensor, "B L y"]:
        return (self._regressors(batch.u) @ self.response).float()


def mean_of(targets: Shaped[Tensor, "n outputs"]) -> Float[Tensor, " outputs"]:
    """The mean over all scored steps or sequences."""
    return targets.double().mean(0).float()
