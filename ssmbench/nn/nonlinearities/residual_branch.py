"""A static branch beside a residual connection, as the blocks of DecodEPFL's neural-ssm have it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ssmbench.analysis.certificate import IDENTITY, Bound
from ssmbench.analysis.network_bound.enclosed import Enclosed
from ssmbench.analysis.network_bound.shifted import ShiftedMap, between
from ssmbench.nn.bounds import weight_bound
from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.nn.nonlinearities.gated import lower_glu
from ssmbench.nn.nonlinearities.pointwise import GELU
from ssmbench.nn.norms.base import largest
from ssmbench.options import COUNT, one_of, option
from ssmbench.program import Builder
from ssmbench.registry import nonlinearities


@dataclass
class ResidualBranchConfig:
    """``form`` of the branch f: mlp is V gelu(W x), with ``hidden`` numbers in between (0 means
    d_model); glu is (V g + a) sigmoid(W g + b) with g = GELU(x); tanh_glu is
    s tanh(V x) sigmoid(W x)."""

    form: str = option("mlp", one_of("mlp", "glu", "tanh_glu"))
    hidden: int = option(0, COUNT)


@nonlinearities.register(
    "residual_branch",
    config=ResidualBranchConfig,
    citation="neural-ssm 0.44.0 (PyPI), ssm/layers.py and static_layers; Massai, Zakwan, "
    "Ferrari-Trecate 2025, arXiv 2503.23818",
)
class ResidualBranch(Nonlinearity):
    """x + f(x), f a static map that mixes channels.

    Lipschitz constants: of mlp ``1 + 1.1290 |V| |W|``, of tanh_glu ``1 + max |s| (|V| + |W| / 4)``,
    because |tanh'|, |tanh| and sigmoid are at most 1 and sigmoid' at most 1/4.
    """

    why_unbounded = ""  # it follows from the weights, but for glu

    def __init__(self, config: ResidualBranchConfig, *, d_model: int):
        super().__init__(config, d_model=d_model)
        self.form = config.form
        self.maps_zero_to_zero = config.form != "glu"  # which has biases
        hidden = config.hidden or d_model
        if self.form == "glu":
            self.linear = nn.Linear(d_model, 2 * d_model)
            return
        width = hidden if self.form == "mlp" else d_model
        self.W = nn.Parameter(torch.randn(width, d_model) / d_model**0.5)
        shape = (d_model, width) if self.form == "mlp" else (d_model, d_model)
        self.V = nn.Parameter(torch.randn(shape) / shape[1] ** 0.5)
        if self.form == "tanh_glu":
            self.scale = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Float[Tensor, "B L d"]) -> Float[Tensor, "B L d"]:
        if self.form == "glu":
            return x + F.glu(self.linear(F.gelu(x)), dim=-1)
        if self.form == "mlp":
            return x + F.linear(F.gelu(F.linear(x, self.W)), self.V)
        gate = torch.sigmoid(F.linear(x, self.W))
        return x + self.scale * torch.tanh(F.linear(x, self.V)) * gate

    def lower(self, to: Builder, x: int) -> int:
        if self.form == "glu":
            gate = to.affine(to.pointwise(x, "gelu"), self.linear.weight, self.linear.bias)
            return to.add(x, lower_glu(to, gate))
        if self.form == "mlp":
            hidden = to.pointwise(to.affine(x, self.W), "gelu")
            return to.add(x, to.affine(hidden, self.V))
        gate = to.pointwise(to.affine(x, self.W), "sigmoid")
        value = to.pointwise(to.affine(x, self.V), "tanh")
        return to.add(x, to.scale(to.multiply(value, gate), self.scale))

    def shifted(self, width: int) -> ShiftedMap | None:
        identity, branch = Enclosed.identity(width), self._branch_bound()
        if not branch.finite:
            return None
        if self.form == "mlp":
            assert GELU.slopes is not None
            V, W = Enclosed.of(self.V), Enclosed.of(self.W)
            return between(*GELU.slopes, V, W).plus_matrix(identity)
        return ShiftedMap.of_lipschitz(branch.value, width, width).plus_matrix(identity)

    def bound(self) -> Bound:
        return IDENTITY.plus(self._branch_bound())

    def _branch_bound(self) -> Bound:
        if self.form == "glu":
            return Bound.none(
                "a gated linear unit multiplies two signals: its slope grows with them"
            )
        V, W = weight_bound(self.V), weight_bound(self.W)
        if self.form == "mlp":
            assert GELU.lipschitz is not None
            return W.then(Bound(GELU.lipschitz)).then(V)
        return V.plus(W.then(Bound(0.25))).then(largest(self.scale))
