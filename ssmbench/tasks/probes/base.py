"""What memory probes share: sequences drawn by a seed, in three splits and at longer lengths."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import mse_loss

from ssmbench.errors import require
from ssmbench.options import POSITIVE_COUNT, SEED, SIZE, option
from ssmbench.tasks.base import Task
from ssmbench.tasks.baselines import Predictor, always, mean_of
from ssmbench.tasks.classification import Classification
from ssmbench.tasks.conditions import longer_sets
from ssmbench.tasks.sequences import Sequences, Splits

if TYPE_CHECKING:  # slow: imported where metrics are made
    from torchmetrics import MetricCollection


@dataclass
class ProbeConfig:
    """How many sequences are drawn, and how long they are."""

    #: Steps of a sequence.
    length: int = option(256, SIZE)
    #: Sequences to train on.
    train_sequences: int = option(10_000, POSITIVE_COUNT)
    #: Sequences for validation, and again as many for each test.
    test_sequences: int = option(1000, POSITIVE_COUNT)
    #: Further test sets have sequences so many times as long.
    length_factors: list[int] = field(default_factory=list)
    #: Draws the sequences.
    data_seed: int = option(0, SEED)


class Probe(Task):
    """A derived class sets :attr:`sizes` and draws sequences of a length in :meth:`draw`."""

    config: ProbeConfig
    fixed_length_reason = ""

    @property
    def source(self) -> str:
        """Where the data come from."""
        return "generated"

    @property
    def per_step(self) -> bool:
        """Whether steps are scored, not sequences."""
        return self.sizes.per_step

    def check(self) -> None:
        """Refuse lengths that are too short. Raises UsageError."""
        least = self.shortest()
        require(self.config.length >= least, f"length must be at least {least}")
        factors = self.config.length_factors
        require(all(k >= 1 for k in factors), f"length_factors must be positive, got {factors}")

    def shortest(self) -> int:
        """The least length that a sequence may have. Raises UsageError for other options."""
        return 1

    @abstractmethod
    def draw(self, random: np.random.Generator, number: int, length: int) -> Sequences:
        """``number`` sequences of ``length`` steps with their targets."""

    @classmethod
    def tiny(cls, folder: Path) -> Mapping[str, Any]:
        """A hundred sequences."""
        return {"train_sequences": 60, "test_sequences": 20, "length": 128}

    def load(self) -> Splits:
        """The sequences, a function of the options alone."""
        sizes = (self.config.train_sequences, *(2 * [self.config.test_sequences]))
        train, val, test = (
            self._drawn(part, number, self.config.length) for part, number in enumerate(sizes)
        )
        own = longer_sets(self.longer, self.config.length_factors)
        return Splits(train, val, test).and_further(own)

    def longer(self, factor: int) -> Sequences:
        """As many sequences as the test set has, drawn anew."""
        number, length = self.config.test_sequences, factor * self.config.length
        return self._drawn(2 + factor, number, length)

    def _drawn(self, part: int, number: int, length: int) -> Sequences:
        return self.draw(np.random.default_rng((self.config.data_seed, part)), number, length)


class ClassProbe(Probe, Classification):
    """A probe that names classes."""

    config: ProbeConfig


class ValueProbe(Probe):
    """A probe that predicts values; its score is the root mean square error."""

    score = "rmse"
    higher_is_better = False

    def loss(
        self, prediction: Float[Tensor, "n y"], target: Float[Tensor, "n y"]
    ) -> Float[Tensor, ""]:
        """The mean squared error."""
        return mse_loss(prediction, target)

    def metrics(self) -> MetricCollection:
        """The root mean square error over all scored steps or sequences."""
        from torchmetrics import MeanSquaredError, MetricCollection

        return MetricCollection({"rmse": MeanSquaredError(squared=False)})

    def to_metric(
        self, prediction: Float[Tensor, "n y"], target: Float[Tensor, "n y"]
    ) -> tuple[Tensor, Tensor]:
        """Both in a row."""
        return prediction.flatten(), target.flatten()

    def baselines(self) -> Mapping[str, Predictor]:
        """The mean of the training targets."""
        return {"mean": always(mean_of(self.scored_targets("train")), per_step=self.per_step)}


def tokens(u: np.ndarray, target: np.ndarray) -> Sequences:
    """Sequences of tokens with classes as targets."""
    return Sequences(torch.from_numpy(u).long(), torch.from_numpy(target).long())


def values(u: np.ndarray, target: np.ndarray) -> Sequences:
    """Sequences of real numbers with real targets."""
    return Sequences(torch.from_numpy(u).float(), torch.from_numpy(target).float())
