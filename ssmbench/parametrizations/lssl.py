"""LSSL: dense linear state-space layers that start at a HiPPO matrix.

Gu, Johnson, Goel, Saab, Dao, Rudra, Re 2021, Combining Recurrent, Convolutional, and
Continuous-time Models with Linear State-Space Layers, arXiv 2110.13985. A bank of H = d_model
single-channel heads, each with its own step size. Departures from the paper and its code:

* a trained A is any matrix: the paper trains a structured family around HiPPO, which is cheaper to
  multiply by and no less free to go unstable;
* one output channel per head: the mixing of channels is the block's;
* B is trained too, and the step sizes are trained even where A is fixed;
* ``y[k] = C x[k] + D u[k]`` with the state *before* input k, control's convention; with
  ``model.readout: after`` it is the published state, after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ssmbench.options import SIZE, option
from ssmbench.parametrizations.base import (
    Parametrization,
    check_step_sizes,
    log_uniform_steps,
    positive,
)
from ssmbench.parametrizations.hippo import Measure, matrices
from ssmbench.registry import parametrizations
from ssmbench.systems import ContinuousDense


@dataclass
class LSSLConfig:
    """The HiPPO matrix to start from, and whether training may change it (``train_A``).

    ``init: fout`` needs an odd ``d_state``. Windows are one time unit, 1 / dt steps.
    """

    init: Measure = Measure.legs
    d_state: int = option(64, SIZE)
    train_A: bool = True
    dt_min: float = 0.001
    dt_max: float = 0.1


@parametrizations.register(
    "lssl",
    config=LSSLConfig,
    citation="Gu, Johnson, Goel, Saab, Dao, Rudra, Re 2021, Combining Recurrent, Convolutional, "
    "and Continuous-time Models with Linear State-Space Layers, arXiv 2110.13985, section 3, "
    "equations 1 and 2; A: Gu, Dao, Ermon, Rudra, Re 2020, HiPPO, arXiv 2008.07669, Theorems 1, 2",
)
class LSSL(Parametrization):
    """Dense bank that starts at a HiPPO matrix: stable there, free to leave the stable set."""

    system_type = ContinuousDense
    stable_by_construction = False
    output_parameters = ("C",)
    direct_parameters = ("D",)
    no_published_groups = (
        "trains other parameters than the paper, whose A is structured and whose B is fixed"
    )

    def __init__(self, config: LSSLConfig, *, d_model: int):
        super().__init__()
        check_step_sizes(config.dt_min, config.dt_max)
        A, B = (torch.from_numpy(m).float() for m in matrices(config.init, config.d_state))
        if config.train_A:
            self.A = nn.Parameter(A.expand(d_model, -1, -1).clone())
        else:
            self.register_buffer("A", A)
        self.B = nn.Parameter(B[:, None].expand(d_model, -1, -1).clone())
        self.C = nn.Parameter(torch.randn(d_model, 1, config.d_state))
        self.D = nn.Parameter(torch.randn(d_model))
        self.log_dt = nn.Parameter(log_uniform_steps(d_model, config.dt_min, config.dt_max))

    def forward(self) -> ContinuousDense:
        """A (H, N, N), B (H, N, 1), C (H, 1, N), D (H, 1, 1), dt (H,)."""
        return ContinuousDense(
            A=self.A.expand(len(self.D), -1, -1),
            B=self.B,
            C=self.C,
            D=self.D[:, None, None],
            dt=positive(self.log_dt),
        )
