"""Linear maps of a prescribed spectral norm."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ssmbench.linalg.singular_values import spectral_norm


class BoundedLinear(nn.Linear):
    """An affine map with a weight of a given spectral norm: gain * W / ||W||_2, plus a bias."""

    def effective_weight(self, gain: float = 1.0) -> Float[Tensor, "out in"]:
        """The weight that multiplies the input."""
        return bounded_weight(self.weight, gain)

    def largest_norm(self) -> float:
        """What the spectral norm of the weight for gain 1 is at most after rounding, for all
        parameter values.

        With the unit roundoff u: the norm, which is divided by, is an upper bound; its rounding and
        that of the quotient, which may be subnormal, change the weight by at most 6 u, and that of
        the products by ``u ||W||_F <= u sqrt(min(in, out))``.
        """
        unit = torch.finfo(self.weight.dtype).eps / 2
        return 1 + unit * (6 + math.sqrt(min(self.weight.shape)))

    def forward(
        self, x: Float[Tensor, "*shape in"], gain: float = 1.0
    ) -> Float[Tensor, "*shape out"]:
        return F.linear(x, self.effective_weight(gain), self.bias)


def effective_weight(module: nn.Linear) -> Float[Tensor, "out in"]:
    """The weight that multiplies the input of an affine map, bounded or not."""
    return module.effective_weight() if isinstance(module, BoundedLinear) else module.weight


def bounded_weight(weight: Float[Tensor, "out in"], gain: float = 1.0) -> Float[Tensor, "out in"]:
    """gain * W / ||W||_2."""
    return weight * (gain / spectral_norm(weight))
