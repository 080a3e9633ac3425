"""The usual nonlinearities; only the gated linear unit has weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.registry import NoOptions, nonlinearities


@nonlinearities.register("identity")
class Identity(Nonlinearity):
    """No nonlinearity: the network is linear."""

    lipschitz = 1.0

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return x


@nonlinearities.register("relu", citation="Nair and Hinton 2010, ICML")
class ReLU(Nonlinearity):
    """max(x, 0)."""

    lipschitz = 1.0

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return F.relu(x)


@nonlinearities.register("tanh")
class Tanh(Nonlinearity):
    """tanh(x)."""

    lipschitz = 1.0

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return torch.tanh(x)


@nonlinearities.register("gelu", citation="Hendrycks and Gimpel 2016, arXiv 1606.08415")
class GELU(Nonlinearity):
    """x Phi(x); its slope peaks at x = sqrt(2)."""

    lipschitz = 1.128905

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return F.gelu(x)


@nonlinearities.register("silu", citation="Elfwing, Uchibe, Doya 2018, arXiv 1702.03118")
class SiLU(Nonlinearity):
    """x sigmoid(x)."""

    lipschitz = 1.099840

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return F.silu(x)


@nonlinearities.register("glu", citation="Dauphin et al. 2017, arXiv 1612.08083")
class GLU(Nonlinearity):
    """GELU, a linear map to twice the width, and a gate, as in S4; it mixes channels."""

    why_unbounded = "a gated linear unit multiplies two signals: its slope grows with them"

    def __init__(self, config: NoOptions, *, d_model: int):
        super().__init__(config, d_model=d_model)
        self.linear = nn.Linear(d_model, 2 * d_model)

    def forward(self, x: Float[Tensor, "B L d"]) -> Float[Tensor, "B L d"]:
        return F.glu(self.linear(F.gelu(x)), dim=-1)
