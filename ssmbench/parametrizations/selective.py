"""Selective state spaces (Mamba's S6): Gu and Dao 2023, arXiv 2312.00752, algorithm 2.

Step size, B and C follow from the input at each step, so the system is time-varying. Departures
from the published code:

* the discretizer is the run's choice; with ``zoh`` B_bar is exact, where the code takes Euler's
  B_bar = dt B beside an exact A_bar (selective_scan_ref in
  mamba_ssm/ops/selective_scan_interface.py at e9594ce), as ``euler_input: true`` does;
* ``y[k] = C[k] x[k] + D u[k]`` with the state *before* input k, control's convention, where the
  published scan reads C[k] x[k+1], as it does with ``model.readout: after``;
* the layer is the SSM alone: Mamba's gate and causal convolution are no part of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ssmbench.options import COUNT, SIZE, option
from ssmbench.parametrizations.base import (
    AS_BIAS,
    AS_WEIGHT,
    Parametrization,
    check_step_sizes,
    log_uniform_steps,
    positive,
)
from ssmbench.registry import parametrizations
from ssmbench.systems import ContinuousTimeVaryingDiagonal


@dataclass
class SelectiveConfig:
    """``d_state`` N, real modes of each channel; ``dt_rank``: of the map from u to step sizes, 0
    for d_model / 16, rounded up. Initial step sizes are log-uniform in [dt_min, dt_max].
    ``euler_input``: B_bar = dt B, as published, instead of the discretizer's; refused for
    discretizers that change C or D. ``published_groups``: one learning rate, the main one, with
    decay for the linear maps, and without for log_A, D and the bias of the step size."""

    d_state: int = option(16, SIZE)
    dt_rank: int = option(0, COUNT)
    dt_min: float = 0.001
    dt_max: float = 0.1
    euler_input: bool = option(False, added=2)
    published_groups: bool = option(False, added=2)


@parametrizations.register(
    "selective",
    config=SelectiveConfig,
    citation="Gu, Dao 2023, Mamba: Linear-Time Sequence Modeling with Selective State Spaces, "
    "arXiv 2312.00752, section 3.2 and algorithm 2",
)
class Selective(Parametrization):
    """Diagonal bank whose step size, B and C follow from the input: time-varying, no LTI gain.

    A = -exp(log_A) < 0 and dt > 0: at each step it is stable, frozen in time. Its gain has no
    bound: the output is a product of functions of u, so a larger u is amplified more.

    Step sizes, discretization, scan and read-out are one operation where the discretizer has an
    elementwise rule (zoh, tustin, and methods of one stage) and the scan fuses it, as that of the C
    kernels does: states are kept at every 32nd step. Elsewhere four tensors (B, L, d_model, N) are
    kept for the backward pass.
    """

    system_type = ContinuousTimeVaryingDiagonal
    stable_by_construction = True
    takes_selection = True
    #: A_log and D have _no_weight_decay in mamba_ssm/modules/mamba_simple.py at e9594ce; the paper,
    #: appendix E.2.1, trains with one learning rate.
    published: ClassVar = {
        "log_A": AS_BIAS,
        "D": AS_BIAS,
        "to_dt_B_C": AS_WEIGHT,
        "dt_weight": AS_WEIGHT,
        "dt_bias": AS_BIAS,
    }

    def __init__(self, config: SelectiveConfig, *, d_model: int, d_selection: int | None = None):
        super().__init__()
        check_step_sizes(config.dt_min, config.dt_max)
        self.d_model, self.d_selection = d_model, d_selection
        self.euler_input = config.euler_input
        self.published_groups = config.published_groups
        self.rank = config.dt_rank or math.ceil(d_model / 16)
        modes = torch.arange(1.0, config.d_state + 1)  # S4D-real, section 3.6
        self.log_A = nn.Parameter(torch.log(modes).expand(d_model, -1).clone())
        self.D = nn.Parameter(torch.ones(d_model))
        self.to_dt_B_C = nn.Parameter(
            _uniform(self.rank + 2 * config.d_state, d_selection or d_model)
        )
        self.dt_weight = nn.Parameter(_uniform(d_model, self.rank))
        steps = torch.exp(log_uniform_steps(d_model, config.dt_min, config.dt_max))
        self.dt_bias = nn.Parameter(steps + torch.log(-torch.expm1(-steps)))  # softplus(.) = steps

    def forward(self, u: Float[Tensor, "B L s"]) -> ContinuousTimeVaryingDiagonal:
        """From the signal that selects, the input or one of width d_selection: lam (1, 1, H, N),
        which all steps share, B (B, L, 1, N, 1) and C (B, L, 1, 1, N), which the H = d_model
        channels share, D (H, 1, 1), dt (B, L, H).
        """
        dtype = torch.promote_types(u.dtype, self.D.dtype)
        projection, weight, bias, log_A = (
            p.to(dtype) for p in (self.to_dt_B_C, self.dt_weight, self.dt_bias, self.log_A)
        )
        states = log_A.shape[1]
        projected = F.linear(u.to(dtype), projection)
        low, B, C = projected.split([self.rank, states, states], -1)
        return ContinuousTimeVaryingDiagonal(
            lam=-positive(log_A)[None, None],
            B=B[:, :, None, :, None],
            C=C[:, :, None, None, :],
            D=self.D[:, None, None],
            dt=F.softplus(F.linear(low, weight, bias)),
            euler_input=self.euler_input,
        )


def _uniform(rows: int, columns: int) -> Float[Tensor, "rows columns"]:
    """Uniform within 1 / sqrt(columns): unit-variance inputs give outputs of variance 1/3."""
    return (2 * torch.rand(rows, columns) - 1) / math.sqrt(columns)
