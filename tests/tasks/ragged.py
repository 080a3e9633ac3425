"""A plugin file for the tests: sequences of different lengths, tokens, and pairs, tiny."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import mse_loss
from torchmetrics import MeanSquaredError, MetricCollection

from ssmbench.registry import tasks
from ssmbench.spec import Channels, Pair, TaskSizes, Tokens
from ssmbench.tasks.base import Task
from ssmbench.tasks.classification import Classification
from ssmbench.tasks.sequences import (
    GeneratedSequences,
    PaddedSequences,
    PairedSequences,
    Sample,
    Splits,
)

LENGTH, SEQUENCES, WORDS = 12, 24, 6


def lengths(rng: np.random.Generator) -> list[int]:
    """One sequence is as long as can be, one has a single step."""
    return [LENGTH, 1, *rng.integers(1, LENGTH + 1, SEQUENCES - 2).tolist()]


@tasks.register("toy_uneven", citation="none")
class Uneven(Task):
    """The input itself, per step, of sequences of different lengths with uneven steps."""

    score, higher_is_better, source = "rmse", False, "noise"
    sizes = TaskSizes(Channels(2), 2, LENGTH, per_step=True)

    def load(self) -> Splits:
        return Splits(*(self._part(np.random.default_rng(k)) for k in range(3)))

    def _part(self, rng: np.random.Generator) -> PaddedSequences:
        u = [rng.standard_normal((n, 2)) for n in lengths(rng)]
        dt = [rng.uniform(0.5, 2, len(one)) for one in u]
        return PaddedSequences.of(u, u, per_step=True, dt=dt)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return mse_loss(prediction, target)

    def metrics(self) -> MetricCollection:
        return MetricCollection({"rmse": MeanSquaredError(squared=False)})

    def to_metric(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return prediction.flatten(), target.flatten()


def first_token(rng: np.random.Generator, index: int) -> Sample:
    """Tokens of any length and the class of the first; the first sequence is a long one."""
    tokens = rng.integers(1, WORDS, LENGTH if index == 0 else rng.integers(1, LENGTH + 1))
    return Sample(tokens, int(tokens[0]) % 2)


@tasks.register("toy_tokens", citation="none")
class Words(Classification):
    """Whether the first token is odd; made when they are asked for."""

    source = "noise"
    sizes = TaskSizes(Tokens(WORDS), 2, LENGTH)

    def load(self) -> Splits:
        return Splits(*(GeneratedSequences(first_token, SEQUENCES, seed) for seed in range(3)))


@tasks.register("toy_pairs", citation="none")
class Documents(Classification):
    """Whether two documents begin with the same token."""

    source = "noise"
    sizes = TaskSizes(Pair(Tokens(WORDS)), 2, LENGTH)

    def load(self) -> Splits:
        return Splits(*(self._part(np.random.default_rng(k)) for k in range(3)))

    def _part(self, rng: np.random.Generator) -> PairedSequences:
        a, b = ([rng.integers(1, WORDS, n) for n in lengths(rng)] for _ in range(2))
        same = torch.tensor([int(x[0] == y[0]) for x, y in zip(a, b, strict=True)])
        first, second = (PaddedSequences.of(one, same) for one in (a, b))
        return PairedSequences(first, second, same)
