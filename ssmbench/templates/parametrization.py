from dataclasses import dataclass

import torch
from torch import nn

from ssmbench.parametrizations.base import Parametrization, positive
from ssmbench.registry import parametrizations
from ssmbench.systems import ContinuousDiagonal


@dataclass
class DampedModesConfig:
    """``d_state``: poles for each channel, both of each conjugate pair counted; even."""

    d_state: int = 16


@parametrizations.register("damped_modes", config=DampedModesConfig, citation="this work")
class DampedModes(Parametrization):
    """One system of damped oscillations for each channel: always stable."""

    system_type = ContinuousDiagonal
    stable_by_construction = True

    def __init__(self, config: DampedModesConfig, *, d_model: int):
        super().__init__()
        H, N = d_model, config.d_state // 2
        self.log_decay = nn.Parameter(torch.full((H, N), -0.7))
        self.frequency = nn.Parameter(torch.pi * torch.arange(N).float().repeat(H, 1))
        self.C = nn.Parameter(torch.randn(H, 1, N, 2) / N)  # real and imaginary parts
        self.D = nn.Parameter(torch.randn(H, 1, 1))
        self.log_dt = nn.Parameter(torch.full((H,), -3.0))

    def forward(self) -> ContinuousDiagonal:
        lam = torch.complex(-positive(self.log_decay), self.frequency)  # (H, N)
        return ContinuousDiagonal(
            lam=lam,
            B=torch.ones_like(lam)[..., None],  # (H, N, 1)
            C=torch.view_as_complex(self.C),  # (H, 1, N)
            D=self.D,
            dt=positive(self.log_dt),  # (H,)
            conjugate=True,
        )
