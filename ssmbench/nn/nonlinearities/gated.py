"""Gated linear units, in the forms of the published code of S4 and S5."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ssmbench.nn.dropout import build_dropout
from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.options import PROPER_FRACTION, one_of, option
from ssmbench.program import Builder
from ssmbench.registry import nonlinearities


@dataclass
class GLUConfig:
    """``form``: with g = GELU(x), full is (V g + a) sigmoid(W g + b), half1 is g sigmoid(W g + b),
    half2 is x sigmoid(W g + b). ``gelu``: exact, or the approximation by tanh that flax and S5 use.
    ``dropout``: its probability after the GELU, before the gate; ``dropout_tied``: whether its mask
    is the same at every step."""

    form: str = option("full", one_of("full", "half1", "half2"), added=2)
    gelu: str = option("exact", one_of("exact", "tanh"), added=2)
    dropout: float = option(0.0, PROPER_FRACTION, added=2)
    dropout_tied: bool = option(False, added=2)


@nonlinearities.register(
    "glu",
    config=GLUConfig,
    citation="Dauphin et al. 2017, arXiv 1612.08083; the half forms: S5, Smith, Warrington, "
    "Linderman 2023, arXiv 2208.04933, s5/layers.py",
)
class GLU(Nonlinearity):
    """GELU, a linear map to twice the width, and a gate, as in S4; it mixes channels.

    The half forms gate the signal itself, with a linear map for the gate only. The published blocks
    have no further mixing: ``model.mix=false``.
    """

    why_unbounded = "a gated linear unit multiplies two signals: its slope grows with them"

    def __init__(self, config: GLUConfig, *, d_model: int):
        super().__init__(config, d_model=d_model)
        self.form = config.form
        self.approximate = "tanh" if config.gelu == "tanh" else "none"
        # no draw without dropout, so that the random numbers of a run stay those of earlier ones
        used = config.dropout > 0
        self.dropout = build_dropout(config.dropout, config.dropout_tied) if used else nn.Identity()
        self.linear = nn.Linear(d_model, d_model * (2 if config.form == "full" else 1))

    def forward(self, x: Float[Tensor, "B L d"]) -> Float[Tensor, "B L d"]:
        inner = self.dropout(F.gelu(x, approximate=self.approximate))
        gate = self.linear(inner)
        if self.form == "full":
            return F.glu(gate, dim=-1)
        return (inner if self.form == "half1" else x) * torch.sigmoid(gate)

    def lower(self, to: Builder, x: int) -> int:
        inner = to.pointwise(x, "gelu_tanh" if self.approximate == "tanh" else "gelu")
        gate = to.affine(inner, self.linear.weight, self.linear.bias)
        if self.form == "full":
            return lower_glu(to, gate)
        return to.multiply(inner if self.form == "half1" else x, to.pointwise(gate, "sigmoid"))


def lower_glu(to: Builder, gate: int) -> int:
    """The first half of a value times the sigmoid of the second, in an exported network."""
    half = to.width(gate) // 2
    value, opening = to.slice(gate, 0, half), to.slice(gate, half, 2 * half)
    return to.multiply(value, to.pointwise(opening, "sigmoid"))
