"""Nonlinearities with the Lipschitz constant that each declares, or the reason it has none."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ssmbench.analysis.certificate import Bound
from ssmbench.registry import NoOptions, nonlinearities


class Nonlinearity(nn.Module):
    """A map of (B, L, d_model) to itself, built as ``factory(config, d_model=...)``."""

    #: Declared Lipschitz constant in l2; None where there is none, with ``why_unbounded``.
    lipschitz: ClassVar[float | None] = None
    why_unbounded: ClassVar[str] = "the nonlinearity declares no Lipschitz constant"

    def __init__(self, config: NoOptions, *, d_model: int):
        super().__init__()

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """The class's facts as plain values."""
        known = cls.lipschitz is not None
        return {"lipschitz": cls.lipschitz if known else f"none: {cls.why_unbounded}"}

    def bound(self) -> Bound:
        """The declared constant as a bound."""
        if self.lipschitz is None:
            return Bound.none(self.why_unbounded)
        return Bound(self.lipschitz)


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
    """GELU, a linear map to twice the width, and a gate: S4's choice; it mixes channels."""

    why_unbounded = "a gated linear unit multiplies two signals: its slope grows with them"

    def __init__(self, config: NoOptions, *, d_model: int):
        super().__init__(config, d_model=d_model)
        self.linear = nn.Linear(d_model, 2 * d_model)

    def forward(self, x: Float[Tensor, "B L d"]) -> Float[Tensor, "B L d"]:
        return F.glu(self.linear(F.gelu(x)), dim=-1)
