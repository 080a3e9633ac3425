"""Selective state spaces whose every step is a contraction, whatever selects it.

If at every step the matrix [A_t B_t; C_t D_t] has norm at most 1, then
``|x_next|^2 + |y|^2 <= |x|^2 + |u|^2``; summed over the steps, ``||y|| <= ||u||`` from the zero
state. Nothing is asked of how the matrices follow from the signals: it is the bounded-real lemma
with the constant storage function |x|^2 (Willems 1972, Dissipative dynamical systems, part I; for
time-varying systems, Dullerud and Lall 1999, IEEE TAC 44, theorem 11). docs/certified_variants.md
has the proof.
"""

from __future__ import annotations

import math
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
from ssmbench.parametrizations.contraction_steps import contraction_steps
from ssmbench.parametrizations.gates import angle_gate_start, groups_of, log_uniform, shrunk
from ssmbench.parametrizations.peak_form import Selected, incremental_gain, projected
from ssmbench.program import Builder
from ssmbench.registry import parametrizations
from ssmbench.systems import TimeVaryingDiagonal, by_head

#: Standard deviation of initial slopes on a ball of radius 1, times sqrt(d).
_SLOPE = 2.8
#: Relative rounding of a bound that is computed in float32.
_ROUNDING = 1e-5


@dataclass
class ContractionSelectiveConfig:
    """``d_state`` N, real modes of each channel. ``heads``: groups of channels that share what is
    selected; 0 for the largest divisor of d_model up to 4. ``gamma``: the declared gain. Initial
    time constants of both gates are log-uniform in [time_min, time_max] steps.

    ``ball``: a radius R, for another form with an *incremental* gain of gamma, the input's steps
    being projected to |u| <= R; it has one head, and is selected by the layer's input. None: the
    form with a zero-state gain."""

    d_state: int = option(16, SIZE)
    heads: int = option(0, COUNT)
    gamma: float = option(1.0, POSITIVE)
    time_min: float = option(2.0, POSITIVE)
    time_max: float = option(64.0, POSITIVE)
    ball: float | None = option(None, POSITIVE)


@parametrizations.register(
    "contraction_selective",
    config=ContractionSelectiveConfig,
    citation="this work; the selection of Gu, Dao 2023, Mamba, arXiv 2312.00752, with the energy "
    "balance of Willems 1972, Dissipative dynamical systems",
)
class ContractionSelective(Parametrization):
    """Diagonal bank with a write gate and a read gate that the input, or a signal apart from it,
    selects: its zero-state gain is at most gamma, whatever selects it.

    In each channel, with a_w, a_r in [0, 1], s = sqrt(1 - a^2), |beta| <= 1 and |c| <= 1: first
    ``x <- a_w x + s_w beta u`` (write), then ``y = gamma c' s_r x`` and ``x <- a_r x`` (read). Each
    half is part of a rotation, so that the energy |x|^2 + |y / gamma|^2 never exceeds
    |x|^2 + |u|^2. What is read leaves the state: a_r = 1 reads nothing and keeps everything.

    There is no incremental gain: a large state makes the output change fast with what selects it.
    With a ``ball`` the states stay small and the output is divided by a bound on what differences
    are amplified by (:mod:`ssmbench.parametrizations.peak_form`), so that there is one.
    """

    system_type = TimeVaryingDiagonal
    stable_by_construction = True
    gain_claim = GainClaim.zero_state
    no_discretizer_reason = GAIN_IS_DISCRETE
    takes_selection = True

    def __init__(
        self,
        config: ContractionSelectiveConfig,
        *,
        d_model: int,
        d_selection: int | None = None,
    ):
        super().__init__()
        require(
            config.time_min <= config.time_max,
            f"needs time_min <= time_max, got {config.time_min} and {config.time_max}",
        )
        self.d_model, self.d_selection = d_model, d_selection
        self.gamma, self.ball = config.gamma, config.ball
        self.groups, self.states = groups_of(config.heads, d_model), config.d_state
        if self.ball is not None:
            self._check_ball(config)
            self.groups, self.gain_claim = 1, GainClaim.incremental
        entries = self.groups * self.states
        self.select = nn.Linear(d_selection or d_model, 4 * entries)
        times = [log_uniform(entries, config.time_min, config.time_max) for _ in range(2)]
        with torch.no_grad():
            self.select.bias[: 2 * entries] = torch.cat([angle_gate_start(t) for t in times])
        if self.ball is not None:
            self._start_on_ball(self.ball)

    def _check_ball(self, config: ContractionSelectiveConfig) -> None:
        require(
            self.d_selection is None,
            "ball: an incremental gain needs a layer that its own input selects; set "
            "model.block.selection=input",
        )
        require(config.heads in (0, 1), f"ball: has one head, got heads={config.heads}")

    @torch.no_grad()
    def _start_on_ball(self, radius: float) -> None:
        """Gates that are open by 0.05 to 0.5 at zero, and slopes that the ball sweeps."""
        gates, vectors = self.select.bias.chunk(2)
        gates.uniform_(-3, 0)
        vectors.uniform_(-0.5, 0.5)
        self.select.weight.normal_(0, _SLOPE / (math.sqrt(self.d_model) * radius))

    def forward(self, u: Float[Tensor, "B L s"]) -> TimeVaryingDiagonal:
        """From the signal that selects, the input or one of width d_selection: lam (B, L, G, N), B
        (B, L, G, N, 1), C (B, L, G, 1, N), real, each row for the H / G channels of a group, and
        D (B, L, H, 1, 1), H = d_model."""
        if self.ball is not None:
            return self._on_ball(u, self.ball)
        return self._system(*contraction_steps(self._selected(u), self.gamma))

    def _on_ball(self, u: Float[Tensor, "B L d"], radius: float) -> TimeVaryingDiagonal:
        factor = projected(u, radius)
        write, read, beta, c = self._selected(factor * u).unbind(2)
        root = math.sqrt(self.states)
        scale = self.gamma / self.amplification(u.dtype)
        wrote = torch.sigmoid(write) * torch.tanh(beta) / root * factor[..., None]
        given = scale * torch.tanh(c) / root * torch.sigmoid(read).sqrt()
        kept_w, kept_r = torch.sigmoid(-write), torch.sigmoid(-read)
        parts = (kept_r * kept_w, kept_r * wrote, given * kept_w, (given * wrote).sum(-1))
        return self._system(*parts)

    def amplification(self, dtype: torch.dtype) -> Float[Tensor, ""]:
        """By what the form on the ball is divided: a bound on its incremental gain, and at least
        1e-6 where it writes or reads nothing."""
        assert self.ball is not None, "asked of the form on a ball"
        dtype = torch.promote_types(dtype, self.select.weight.dtype)
        shape = (4, self.states)
        weight, bias = self.select.weight.to(dtype), self.select.bias.to(dtype)
        selected = Selected(weight.unflatten(0, shape), bias.unflatten(0, shape))
        return incremental_gain(selected, self.ball).clamp_min(1e-6) * (1 + _ROUNDING)

    def lower(self, to: Builder, selection: int) -> tuple[int, int, int, int] | None:
        if self.ball is not None:
            return None
        entries = self.groups * self.states
        all_ = to.affine(selection, self.select.weight, self.select.bias)
        parts = [to.slice(all_, k * entries, (k + 1) * entries) for k in range(4)]
        (a_w, s_w), (a_r, s_r) = (_lower_gate(to, part) for part in parts[:2])
        beta, c = (to.unit(part, self.states) for part in parts[2:])
        ones = torch.ones(entries)
        vector = shrunk(ones, self.states + 8)
        kept = to.scale(a_r, shrunk(ones, 24))
        given = self.gamma * shrunk(vector, 2 * self.states + 40)
        given = to.scale(to.multiply(c, s_r), given)
        wrote = to.scale(to.multiply(s_w, beta), vector)
        D = to.sum_groups(to.multiply(given, wrote), self.states)
        return to.multiply(kept, a_w), to.multiply(kept, wrote), to.multiply(given, a_w), D

    def _system(self, lam: Tensor, B: Tensor, C: Tensor, D: Tensor) -> TimeVaryingDiagonal:
        """The system of all channels, from the entries of the groups."""
        D = by_head(D[..., None, None], self.d_model)
        return TimeVaryingDiagonal(lam=lam, B=B[..., None], C=C[..., None, :], D=D)

    def _selected(self, u: Float[Tensor, "B L s"]) -> Float[Tensor, "B L 4 G N"]:
        """The four affine maps of the signal."""
        dtype = torch.promote_types(u.dtype, self.select.weight.dtype)
        weight, bias = self.select.weight.to(dtype), self.select.bias.to(dtype)
        return F.linear(u.to(dtype), weight, bias).unflatten(-1, (4, self.groups, self.states))

    def declared_gain(self) -> float:
        """Gamma, of the gain that :attr:`gain_claim` names."""
        return self.gamma

    def optimizer_options(self) -> dict[str, ParameterOptions]:
        """The selection is trained like the weights of the network."""
        return {"select.weight": AS_WEIGHT, "select.bias": AS_BIAS}


def _lower_gate(to: Builder, z: int) -> tuple[int, int]:
    """As :func:`~ssmbench.parametrizations.gates.angle_gate`, in an exported network."""
    quarter = torch.full((to.width(z),), math.pi / 2)
    angle = to.scale(to.pointwise(z, "sigmoid"), quarter)
    return to.pointwise(angle, "cos"), to.pointwise(angle, "sin")
