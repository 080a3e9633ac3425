"""Unconstrained systems: every entry is a free parameter, so that they may become unstable.

The baseline for the constrained parametrizations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from ssmbench.options import PAIRED_SIZE, option
from ssmbench.parametrizations.base import (
    Parametrization,
    check_step_sizes,
    log_uniform_steps,
    positive,
)
from ssmbench.registry import parametrizations
from ssmbench.systems import ContinuousDense, ContinuousDiagonal


@dataclass
class UnconstrainedConfig:
    """Initial poles: real part ``-decay``, frequencies evenly spaced up to ``max_frequency``."""

    d_state: int = option(64, PAIRED_SIZE)
    decay: float = 0.5
    max_frequency: float = 50.0
    dt_min: float = 0.001
    dt_max: float = 0.1


@parametrizations.register("unconstrained_dense", config=UnconstrainedConfig, citation="baseline")
class UnconstrainedDense(Parametrization):
    """One multi-channel system, A (N, N) free: starts stable, may leave the stable set."""

    system_type = ContinuousDense
    stable_by_construction = False
    output_parameters = ("C",)
    direct_parameters = ("D",)

    def __init__(self, config: UnconstrainedConfig, *, d_model: int):
        super().__init__()
        check_step_sizes(config.dt_min, config.dt_max)
        n = config.d_state
        self.A = nn.Parameter(_rotating_matrix(config))
        self.B = nn.Parameter(torch.randn(n, d_model))
        self.C = nn.Parameter(torch.randn(d_model, n) / math.sqrt(n))
        self.D = nn.Parameter(torch.randn(d_model, d_model) / math.sqrt(d_model))
        middle = math.sqrt(config.dt_min * config.dt_max)
        self.log_dt = nn.Parameter(torch.tensor([math.log(middle)]))

    def forward(self) -> ContinuousDense:
        """A (1, N, N), B (1, N, d_model), C (1, d_model, N), D (1, d_model, d_model), dt (1,)."""
        return ContinuousDense(
            A=self.A[None],
            B=self.B[None],
            C=self.C[None],
            D=self.D[None],
            dt=positive(self.log_dt),
        )


@parametrizations.register(
    "unconstrained_diagonal", config=UnconstrainedConfig, citation="baseline"
)
class UnconstrainedDiagonal(Parametrization):
    """A bank of single-channel diagonal systems whose real parts may turn positive."""

    system_type = ContinuousDiagonal
    stable_by_construction = False
    output_parameters = ("C",)
    direct_parameters = ("D",)

    def __init__(self, config: UnconstrainedConfig, *, d_model: int):
        super().__init__()
        check_step_sizes(config.dt_min, config.dt_max)
        modes = config.d_state // 2
        frequency = torch.linspace(0, config.max_frequency, modes)
        lam = torch.stack([torch.full_like(frequency, -config.decay), frequency], -1)
        self.lam = nn.Parameter(lam.expand(d_model, -1, -1).clone())
        self.C = nn.Parameter(torch.randn(d_model, 1, modes, 2) * math.sqrt(0.5))
        self.D = nn.Parameter(torch.randn(d_model))
        self.log_dt = nn.Parameter(log_uniform_steps(d_model, config.dt_min, config.dt_max))

    def forward(self) -> ContinuousDiagonal:
        """lam (H, N), B = 1 (H, N, 1), C (H, 1, N), D (H, 1, 1), dt (H,)."""
        lam = torch.view_as_complex(self.lam)
        return ContinuousDiagonal(
            lam=lam,
            B=torch.ones_like(lam)[..., None],
            C=torch.view_as_complex(self.C),
            D=self.D[:, None, None],
            dt=positive(self.log_dt),
            conjugate=True,
        )


def _rotating_matrix(config: UnconstrainedConfig) -> torch.Tensor:
    """-decay I + skew, with the wanted frequencies, in a random orthonormal basis."""
    n = config.d_state
    frequency = torch.linspace(0, config.max_frequency, n // 2)
    blocks = torch.block_diag(*(w * torch.tensor([[0.0, -1.0], [1.0, 0.0]]) for w in frequency))
    basis, _ = torch.linalg.qr(torch.randn(n, n))
    return basis @ blocks @ basis.T - config.decay * torch.eye(n)
