"""The usual nonlinearities, applied to each number by itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.program import Builder
from ssmbench.registry import nonlinearities


@nonlinearities.register("identity")
class Identity(Nonlinearity):
    """No nonlinearity: the network is linear."""

    lipschitz = 1.0
    maps_zero_to_zero = True
    slopes = (1.0, 1.0)
    turns = ()
    curvature = 0.0

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return x

    def lower(self, to: Builder, x: int) -> int:
        return x


@nonlinearities.register("relu", citation="Nair and Hinton 2010, ICML")
class ReLU(Nonlinearity):
    """max(x, 0)."""

    lipschitz = 1.0
    maps_zero_to_zero = True
    slopes = (0.0, 1.0)
    turns = (0.0,)

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return F.relu(x)

    def lower(self, to: Builder, x: int) -> int:
        return to.pointwise(x, "relu")


@nonlinearities.register("tanh")
class Tanh(Nonlinearity):
    """tanh(x)."""

    lipschitz = 1.0
    maps_zero_to_zero = True
    slopes = (0.0, 1.0)
    turns = (0.0,)
    curvature = 0.769801

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return torch.tanh(x)

    def lower(self, to: Builder, x: int) -> int:
        return to.pointwise(x, "tanh")


@nonlinearities.register("gelu", citation="Hendrycks and Gimpel 2016, arXiv 1606.08415")
class GELU(Nonlinearity):
    """x Phi(x); its slope peaks at x = sqrt(2)."""

    lipschitz = 1.128905
    maps_zero_to_zero = True
    slopes = (-0.128905, 1.128905)  # slopes at x and -x add up to 1
    turns = (-1.41421, 1.41421)
    curvature = 0.797885

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return F.gelu(x)

    def lower(self, to: Builder, x: int) -> int:
        return to.pointwise(x, "gelu")


@nonlinearities.register("gelu_tanh", citation="Hendrycks and Gimpel 2016, arXiv 1606.08415")
class TanhGELU(Nonlinearity):
    """x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, the approximation that flax has as gelu;
    its slope peaks at x = 1.4185."""

    lipschitz = 1.128994
    maps_zero_to_zero = True
    slopes = (-0.128994, 1.128994)  # slopes at x and -x add up to 1
    turns = (-1.4185, 1.4185)
    curvature = 0.797885

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return F.gelu(x, approximate="tanh")

    def lower(self, to: Builder, x: int) -> int:
        return to.pointwise(x, "gelu_tanh")


@nonlinearities.register("silu", citation="Elfwing, Uchibe, Doya 2018, arXiv 1702.03118")
class SiLU(Nonlinearity):
    """x sigmoid(x)."""

    lipschitz = 1.099840
    maps_zero_to_zero = True
    slopes = (-0.099840, 1.099840)  # slopes at x and -x add up to 1
    turns = (-2.39936, 2.39936)
    curvature = 0.5

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return F.silu(x)

    def lower(self, to: Builder, x: int) -> int:
        return to.pointwise(x, "silu")
