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

#: Beyond this the rate 1 / tau leaves what float32 holds.
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
    """tau x' = -x + u a state: each filter has an H-infinity norm of one, at zero frequency.

    The output weights of a channel, D included, are scaled to a sum of magnitudes of at most gamma,
    so no channel amplifies more than gamma: ``|D + sum c_n / (1 + s tau_n)| <= |D| + sum |c_n|``.
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

        Exact zero-order hold keeps it too, since every sampled filter still peaks at one, at zero
        frequency. Under a discretizer that does not, the report shows the violated bound.
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
