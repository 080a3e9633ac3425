"""A delta rule with a prescribed zero-state gain: two Givens rotations a step.

The delta rule (:mod:`ssmbench.systems.delta`) writes a row u beside a key k into the state X and
reads with a query q. Here both are rotations, by angles theta in [0, pi / 2] that follow from the
input, as do k, q and the decay f < 1:

    (k' X_half, lost) = R(theta_w) (k' f X, u),    (q' X_next, y) = R(theta_r) (q' X_half, 0).

A rotation keeps the energy of what it mixes, so that, whatever selects them,

    ||X_next||^2 + ||y||^2 <= ||X||^2 + ||u||^2.

The lossless structure is that of orthogonal filters (Vaidyanathan 1985, Gray and Markel 1975);
the delta rule as an associative memory is Schlag et al.'s and DeltaNet's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ssmbench.analysis.certificate import GainClaim
from ssmbench.errors import require
from ssmbench.options import COUNT, POSITIVE, SIZE, option
from ssmbench.parametrizations.base import (
    AS_BIAS,
    AS_WEIGHT,
    GAIN_IS_DISCRETE,
    ParameterOptions,
    Parametrization,
)
from ssmbench.parametrizations.gates import groups_of, unit_vector
from ssmbench.registry import parametrizations
from ssmbench.systems import TimeVaryingDelta


@dataclass
class ContractionDeltaConfig:
    """``d_state`` N, the keys of a head, which each of its channels has a state for. ``heads``:
    groups of channels that share what is selected; 0 for the largest divisor of d_model up to 4.
    ``gamma``: the declared gain. ``decay``: the factor of the state at each step, at the start."""

    d_state: int = option(16, SIZE)
    heads: int = option(0, COUNT)
    gamma: float = option(1.0, POSITIVE)
    decay: float = 0.9933


@parametrizations.register(
    "contraction_delta",
    config=ContractionDeltaConfig,
    citation="this work; delta rule: Schlag, Irie, Schmidhuber 2021, arXiv 2102.11174, and Yang et "
    "al. 2024, arXiv 2406.06484; lossless rotations: Gray, Markel 1975, IEEE Trans. ASSP 23:268",
)
class ContractionDelta(Parametrization):
    """Delta rule as two rotations: selective, with ||y|| <= gamma ||u|| from the zero state.

    Key, query, decay and angles are affine maps, normalised, of the input at each step, or of a
    signal apart from it. There is no incremental gain: of two inputs the rotations differ.
    """

    system_type = TimeVaryingDelta
    stable_by_construction = True
    gain_claim = GainClaim.zero_state
    no_discretizer_reason = GAIN_IS_DISCRETE
    takes_selection = True

    def __init__(
        self, config: ContractionDeltaConfig, *, d_model: int, d_selection: int | None = None
    ):
        super().__init__()
        require(0 < config.decay < 1, f"decay must be in (0, 1), got {config.decay}")
        self.d_model, self.d_selection = d_model, d_selection
        self.gamma = config.gamma
        self.keys = config.d_state
        self.heads = groups_of(config.heads, d_model)
        rows = 2 * self.keys + 3
        self.select = nn.Linear(d_selection or d_model, self.heads * rows)
        with torch.no_grad():
            start = math.log(config.decay / (1 - config.decay))
            self.select.bias.unflatten(0, (self.heads, rows))[:, -1] = start

    def declared_gain(self) -> float:
        """gamma."""
        return self.gamma

    def optimizer_options(self) -> Mapping[str, ParameterOptions]:
        """The selection is trained like the weights of the network."""
        return {"select.weight": AS_WEIGHT, "select.bias": AS_BIAS}

    def forward(self, u: Float[Tensor, "B L s"]) -> TimeVaryingDelta:
        """From the signal that selects, the input or one of width d_selection: k and q
        (B, L, G, N), f (B, L, G, 1), gates (B, L, G), of G heads with d_model / G channels each.
        """
        keys, gates = self._selected(u)
        key, query = map(unit_vector, keys.chunk(2, -1))
        forget, write = rotation(gates[..., 0])
        erase, read = rotation(gates[..., 1])
        return TimeVaryingDelta(
            key=key,
            query=query,
            decay=(1 - 2 * torch.finfo(key.dtype).eps) * torch.sigmoid(gates[..., 2:]),
            forget=forget,
            write=write,
            erase=erase,
            read=self.gamma * read,
            width=self.d_model // self.heads,
        )

    def _selected(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The affine maps of the signal: for keys (B, L, G, 2 N), for gates (B, L, G, 3)."""
        dtype = torch.promote_types(u.dtype, self.select.weight.dtype)
        weight, bias = self.select.weight.to(dtype), self.select.bias.to(dtype)
        rows = F.linear(u.to(dtype), weight, bias).unflatten(-1, (self.heads, -1))
        keys, gates = rows.split([2 * self.keys, 3], -1)
        return keys, gates


def rotation(
    free: Float[Tensor, "*place"],
) -> tuple[Float[Tensor, "*place"], Float[Tensor, "*place"]]:
    """1 - cos(theta) and sin(theta) for an angle theta = pi / 2 sigmoid(free).

    With d = 2 sin(theta / 2)^2 for the first, (1 - d)^2 + s^2 <= 1 holds exactly: sines are wrong
    by at most two eps, so d (2 - d) by 4.5 and s by 2; s is smaller by 8, and what may underflow is
    added to d. (For small theta both errors are relative, so that a state that is held is held
    exactly. The angle is the parameter, since s as a function of cos(theta) has an infinite slope
    at 1.)
    """
    limits = torch.finfo(free.dtype)
    theta = math.pi / 2 * torch.sigmoid(free)
    forget = 2 * torch.sin(theta / 2).square() + 4 * limits.tiny
    return forget, (1 - 8 * limits.eps) * torch.sin(theta)
