"""Maps of one time step whose Lipschitz constant is 1 for all parameter values, with weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ssmbench.analysis.network_bound.enclosed import Enclosed
from ssmbench.analysis.network_bound.shifted import ShiftedMap, between
from ssmbench.errors import require
from ssmbench.linalg.orthogonal import cayley, limited
from ssmbench.linalg.singular_values import spectral_norm
from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.nn.nonlinearities.pair_sort import sort_pairs
from ssmbench.program import Builder
from ssmbench.registry import NoOptions, nonlinearities

#: The largest Frobenius norm of Y in a sandwich layer. The error of A A' + B B' = I is about its
#: square times the rounding of double precision, and has to stay below the rounding of float32.
_LARGEST_Y = 1e4


@dataclass
class WidthConfig:
    """``hidden``: columns of W; 0 means d_model."""

    hidden: int = 0


@nonlinearities.register(
    "sll",
    config=WidthConfig,
    citation="Araujo et al. 2023, A Unified Algebraic Perspective on Lipschitz Neural Networks, "
    "arXiv 2303.03169, theorem 3",
)
class SLL(Nonlinearity):
    """x - 2 W T^-1 relu(W' x + b), T_i = sum_j |W' W|_ij q_j / q_i: it starts near the identity."""

    lipschitz = 1.0

    def __init__(self, config: WidthConfig, *, d_model: int):
        super().__init__(config, d_model=d_model)
        hidden = config.hidden or d_model
        _check_width("sll", hidden)
        self.weight = nn.Parameter(torch.randn(d_model, hidden) / math.sqrt(d_model))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.log_q = nn.Parameter(torch.zeros(hidden))

    def forward(self, x: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape d"]:
        hidden = F.relu(F.linear(x, self.weight.T, self.bias))
        return x - F.linear(hidden, self._outward())

    def lower(self, to: Builder, x: int) -> int:
        hidden = to.pointwise(to.affine(x, self.weight.T, self.bias), "relu")
        return to.add(x, to.affine(hidden, -self._outward()))

    def _outward(self) -> Float[Tensor, "d h"]:
        return 2 * self.weight / self._scale()

    def shifted(self, width: int) -> ShiftedMap:
        hidden = between(0.0, 1.0, Enclosed.of(-self._outward()), Enclosed.of(self.weight.T))
        return hidden.plus_matrix(Enclosed.identity(width))

    def _scale(self) -> Float[Tensor, " h"]:
        # softmax, not exp: only ratios of q matter, and no parameter value overflows them
        q = torch.softmax(self.log_q, 0).clamp_min(1e-6)
        gram = (self.weight.T @ self.weight).abs()
        return (gram * q).sum(-1).div(q).clamp_min(1e-12)


@nonlinearities.register(
    "sandwich",
    citation="Wang and Manchester 2023, Direct Parameterization of Lipschitz-Bounded Deep "
    "Networks, arXiv 2301.11526, equation 8",
)
class Sandwich(Nonlinearity):
    """sqrt(2) A' Psi relu(sqrt(2) Psi^-1 B x + b) with A A' + B B' = I by Cayley's map."""

    lipschitz = 1.0

    def __init__(self, config: NoOptions, *, d_model: int):
        super().__init__(config, d_model=d_model)
        self.X = nn.Parameter(torch.randn(d_model, d_model) / d_model)
        self.Y = nn.Parameter(torch.randn(d_model, d_model) / math.sqrt(d_model))
        self.log_psi = nn.Parameter(torch.zeros(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape d"]:
        inward, psi, outward = self._maps()
        return F.linear(F.relu(F.linear(x, inward, self.bias)) * psi, outward)

    def lower(self, to: Builder, x: int) -> int:
        inward, psi, outward = self._maps()
        hidden = to.pointwise(to.affine(x, inward, self.bias), "relu")
        return to.affine(hidden, outward * psi)

    def _maps(self) -> tuple[Tensor, Tensor, Tensor]:
        """What relu reads, the factor of its results, and what these are multiplied by."""
        A, B = self.matrices()
        psi = torch.exp(self.log_psi.clamp(-20, 20))
        return math.sqrt(2) * B / psi[:, None], psi, math.sqrt(2) * A.T

    def shifted(self, width: int) -> ShiftedMap:
        inward, psi, outward = self._maps()
        return between(
            0.0, 1.0, Enclosed.of(outward) @ Enclosed.of(torch.diag(psi)), Enclosed.of(inward)
        )

    def matrices(self) -> tuple[Float[Tensor, "d d"], Float[Tensor, "d d"]]:
        """A and B, with A A' + B B' = I."""
        X, Y = limited(self.X.double()), limited(self.Y.double(), _LARGEST_Y)
        eye = torch.eye(len(X), dtype=X.dtype, device=X.device)
        Z = X - X.T + Y.T @ Y
        # The symmetric part of I + Z is at least I, and its norm is limited: never singular.
        A = torch.linalg.solve_ex(eye + Z, eye - Z).result.T
        B = -2 * torch.linalg.solve_ex(eye + Z.T, Y.T).result
        return A.to(self.X.dtype), B.to(self.X.dtype)


@nonlinearities.register(
    "groupsort", citation="Anil, Lucas, Grosse 2019, Sorting out Lipschitz function approximation"
)
class GroupSort(Nonlinearity):
    """Sorts neighbouring channels, (max, min) of each pair: a permutation at every point."""

    lipschitz = 1.0
    maps_zero_to_zero = True

    def forward(self, x: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape d"]:
        return sort_pairs(x)

    def lower(self, to: Builder, x: int) -> int:
        return to.sort_pairs(x)

    def shifted(self, width: int) -> ShiftedMap:
        """(a + b) / 2 +- |a - b| / 2: the sum of a pair is linear, and the difference's modulus has
        slopes in [-1, 1]."""
        pairs = width // 2
        difference = np.kron(np.eye(pairs, width // 2), [[1.0, -1.0]])
        difference = np.pad(difference, ((0, 0), (0, width - 2 * pairs)))
        mean = np.eye(width)
        mean[: 2 * pairs, : 2 * pairs] = np.kron(np.eye(pairs), np.full((2, 2), 0.5))
        remainders = between(-1.0, 1.0, Enclosed(difference.T / 2), Enclosed(difference))
        return remainders.plus_matrix(Enclosed(mean))


@nonlinearities.register(
    "cayley",
    citation="Trockman and Kolter 2021, Orthogonalizing Convolutional Layers with the Cayley "
    "Transform, arXiv 2104.07167",
)
class Cayley(GroupSort):
    """GroupSort of Q x + b, Q orthogonal by Cayley's map: it preserves the norm of gradients."""

    maps_zero_to_zero = False  # it has a bias

    def __init__(self, config: NoOptions, *, d_model: int):
        super().__init__(config, d_model=d_model)
        self.S = nn.Parameter(torch.randn(d_model, d_model) / d_model)
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape d"]:
        return super().forward(F.linear(x, self._rotation(), self.bias))

    def lower(self, to: Builder, x: int) -> int:
        return to.sort_pairs(to.affine(x, self._rotation(), self.bias))

    def _rotation(self) -> Float[Tensor, "d d"]:
        return cayley(self.S.double()).to(self.S.dtype)

    def shifted(self, width: int) -> ShiftedMap:
        return super().shifted(width).after(Enclosed.of(self._rotation()))


@nonlinearities.register("saturated_glu", citation="this work; a gated linear unit that saturates")
class SaturatedGLU(Nonlinearity):
    """tanh(A x + a) sigmoid(B x + b) with ||A|| + ||B|| / 4 <= 1: slopes 1 and 1/4, values <= 1."""

    lipschitz = 1.0

    def __init__(self, config: NoOptions, *, d_model: int):
        super().__init__(config, d_model=d_model)
        self.value = nn.Linear(d_model, d_model)
        self.gate = nn.Linear(d_model, d_model)

    def forward(self, x: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape d"]:
        scale = self._scale()
        value = F.linear(x, scale * self.value.weight, self.value.bias)
        gate = F.linear(x, scale * self.gate.weight, self.gate.bias)
        return torch.tanh(value) * torch.sigmoid(gate)

    def _scale(self) -> Float[Tensor, ""]:
        slope = spectral_norm(self.value.weight) + spectral_norm(self.gate.weight) / 4
        return 1 / slope.clamp_min(1.0)

    def lower(self, to: Builder, x: int) -> int:
        scale = self._scale()
        value = to.pointwise(to.affine(x, scale * self.value.weight, self.value.bias), "tanh")
        gate = to.pointwise(to.affine(x, scale * self.gate.weight, self.gate.bias), "sigmoid")
        return to.multiply(value, gate)


def _check_width(name: str, hidden: int) -> None:
    require(hidden > 0, f"{name}: hidden must not be negative, got {hidden}")
