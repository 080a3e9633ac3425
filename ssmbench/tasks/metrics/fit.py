"""The fit: how much of an output's variation a model explains."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric


class Fit(Metric):
    """100 (1 - ||y - prediction|| / ||y - mean of y||) in percent, the mean over the outputs.

    100 is a perfect prediction, and 0 that of a constant, the mean of y. An output that does not
    vary has no fit and is left out; NaN where none varies. Source: L. Ljung, System Identification
    Toolbox (``compare``), there for one output at a time.

    ``update`` takes predictions and targets (n * outputs,), the outputs of a step in a row.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False

    steps: Tensor
    total: Tensor
    squares: Tensor
    error: Tensor

    def __init__(self, outputs: int):
        super().__init__()
        self.outputs = outputs
        self.add_state("steps", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("total", "squares", "error"):
            zeros = torch.zeros(outputs, dtype=torch.float64)
            self.add_state(name, zeros, dist_reduce_fx="sum")

    def update(
        self, prediction: Float[Tensor, " values"], target: Float[Tensor, " values"]
    ) -> None:
        """Add the values of a batch."""
        y, guess = (x.unflatten(0, (-1, self.outputs)).double() for x in (target, prediction))
        self.steps += len(y)
        self.total += y.sum(0)
        self.squares += y.square().sum(0)
        self.error += (y - guess).square().sum(0)

    def compute(self) -> Float[Tensor, ""]:
        """In percent, of all values so far."""
        variation = self.squares - self.total.square() / self.steps
        varies = variation > 1e-12 * self.squares  # less is rounding of a constant
        share = (self.error[varies] / variation[varies]).sqrt()
        return (100 * (1 - share.mean())).float()
