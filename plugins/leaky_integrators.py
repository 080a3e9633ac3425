"""An example plugin: a parametrization in one file. Copy it, rename it, change it.

Put the file into ``./plugins``, or name it with ``--plugins``; then ``name: leaky_integrators``
works in every config, and ``ssmbench list`` shows it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from ssmbench.errors import require
from ssmbench.parametrizations.base import Parametrization
from ssmbench.registry import parametrizations
from ssmbench.systems import ContinuousDiagonal

#: Beyond this the rate 1 / tau overflows or underflows in float32.
_LARGEST_LOG_TAU = 80.0


@dataclass
class LeakyIntegratorsConfig:
    """``d_state`` integrators per channel, with time constants from ``tau_min`` to ``tau_max``
    samples, and a gain of at most ``gamma``."""

    d_state: int = 8
    tau_min: float = 2.0
    tau_max: float = 200.0
    gamma: float = 4.0


@parametrizations.register(
    "leaky_integrators",
    config=LeakyIntegratorsConfig,
    citation="example plugin of ssmbench",
    summary="banks of real low-pass filters, with a gain bound that Tustin's transform keeps",
)
class LeakyIntegrators(Parametrization):
    """States tau x' = -x + u: each filter has an H-infinity norm of 1, reached at zero frequency.

    The output weights of a channel, D included, are scaled so that their magnitudes sum to at most
    gamma, which bounds its gain: ``|D + sum c_n / (1 + s tau_n)| <= |D| + sum |c_n| <= gamma``.
    """

    system_type = ContinuousDiagonal
    stable_by_construction = True

    def __init__(self, config: LeakyIntegratorsConfig, *, d_model: int):
        super().__init__()
        require(
            0 < config.tau_min <= config.tau_max,
            f"needs 0 < tau_min <= tau_max, got tau_min={config.tau_min} "
            f"and tau_max={config.tau_max}",
        )
        self.gamma = config.gamma
        slowest, fastest = math.log(config.tau_max), math.log(config.tau_min)
        self.log_tau = nn.Parameter(
            torch.linspace(fastest, slowest, config.d_state).expand(d_model, -1).clone()
        )
        self.weights = nn.Parameter(torch.randn(d_model, config.d_state + 1) / config.d_state)

    def declared_gain(self) -> float:
        """gamma, of the continuous system, and of the discrete one under Tustin's transform.

        Zero-order hold also keeps it, since the norm of every sampled filter is still 1, at zero
        frequency. For a discretizer that does not keep it, the report shows the violated bound.
        """
        return self.gamma

    def forward(self) -> ContinuousDiagonal:
        """lam = -1/tau (H, N) and B = 1/tau, real; C (H, 1, N) and D (H, 1, 1) share gamma."""
        rate = torch.exp(-self.log_tau.clamp(-_LARGEST_LOG_TAU, _LARGEST_LOG_TAU))
        total = self.weights.double().abs().sum(-1, keepdim=True)
        weights = self.weights * (self.gamma / total.clamp_min(self.gamma)).to(self.weights.dtype)
        return ContinuousDiagonal(
            lam=-rate,
            B=rate[..., None],
            C=weights[:, None, :-1],
            D=weights[:, None, -1:],
            dt=torch.ones(len(rate), device=rate.device),
        )
