"""Signals with the mean and deviation of their training part made 0 and 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.errors import require


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each channel, (n,) float64 or float32, in physical units."""

    mean: Float[np.ndarray, " n"]
    deviation: Float[np.ndarray, " n"]

    @classmethod
    def of(
        cls, training: Float[np.ndarray, "L n"], names: Sequence[str], where: str
    ) -> Normalisation:
        """The normalisation that gives ``training`` zero mean and unit deviation.

        ``names`` of the channels, and ``where`` they are from, are for the message.

        Raises:
            UsageError: a channel is constant, so that nothing can be learned from it.
        """
        found = cls(training.mean(0), training.std(0))
        for name, spread in zip(names, found.deviation.tolist(), strict=True):
            require(spread > 0, f"{where}: {name} is constant over the training part")
        return found

    @classmethod
    def of_any(cls, training: Float[np.ndarray, "L n"]) -> Normalisation:
        """As :meth:`of`, but a constant channel keeps its scale."""
        deviation = training.std(0)
        return cls(training.mean(0), np.where(deviation > 0, deviation, 1))

    def scaled(self, values: Float[np.ndarray, "L n"]) -> Float[np.ndarray, "L n"]:
        """Normalised values, in the precision of the values."""
        return (values - self.mean) / self.deviation

    def apply(self, values: Float[np.ndarray, "L n"]) -> Float[Tensor, "L n"]:
        """Normalised values, float32."""
        return torch.from_numpy(self.scaled(values)).float()

    def invert(self, normalised: Float[Tensor, "*shape n"]) -> Float[Tensor, "*shape n"]:
        """Values in physical units, float32."""
        # In half precision they would have three digits, too few for the error of a good model.
        values = normalised.float()
        return values * _like(self.deviation, values) + _like(self.mean, values)


def _like(numbers: Float[np.ndarray, " n"], values: Tensor) -> Float[Tensor, " n"]:
    return torch.from_numpy(numbers).to(values)
