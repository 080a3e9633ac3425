"""S5: one multi-channel diagonal system (Smith, Warrington, Linderman 2023, arXiv 2208.04933).

Where S4D has a bank of single-channel systems, S5 has one system of N states that reads and writes
all ``d_model`` channels (section 3.1). It starts as the normal part of HiPPO-LegS, or as J blocks
of it (section 3.4 and appendix B.1), whose eigenvectors V are rotated into B and C once, at
initialisation: ``B~ = V^-1 B`` and ``C~ = C V`` (equation 5).

Every state has a step size Delta_n of its own (section 3.4). A system here has one, so
Delta_n is folded in: with time counted in steps of the state, ``lam_n' = Delta_n lam_n`` and
``B_n' = Delta_n B_n`` at step size 1. Any discretizer sees h lam and h B only, so the result is
the paper's; the frequency response of the *continuous* system is that in each state's own time.

Departures from the published code: ``Re lam = -exp(log_decay)`` instead of a free real part that
may turn positive (or is clipped at -1e-4); the output is ``y[k] = C x[k] + D u[k]`` with the state
*before* input k, control's convention (``model.readout: after`` reads the published one);
bidirectionality is no part of the parametrization.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex
from torch import Tensor, nn

from ssmbench.errors import require
from ssmbench.options import PAIRED_SIZE, option
from ssmbench.parametrizations.base import (
    Parametrization,
    check_step_sizes,
    log_uniform_steps,
    positive,
)
from ssmbench.parametrizations.hippo import Measure, normal_plus_low_rank
from ssmbench.registry import parametrizations
from ssmbench.systems import ContinuousDiagonal


@dataclass
class S5Config:
    """``d_state`` counts conjugates, so ``d_state / 2`` modes are stored; ``blocks`` is J."""

    d_state: int = option(64, PAIRED_SIZE)
    blocks: int = 1
    dt_min: float = 0.001
    dt_max: float = 0.1


@parametrizations.register(
    "s5",
    config=S5Config,
    citation="Smith, Warrington, Linderman 2023, Simplified State Space Layers for Sequence "
    "Modeling, arXiv 2208.04933",
)
class S5(Parametrization):
    """One multi-channel diagonal system, Re(lam) = -exp(log_decay) < 0: always stable."""

    system_type = ContinuousDiagonal
    stable_by_construction = True

    def __init__(self, config: S5Config, *, d_model: int):
        super().__init__()
        _check(config)
        n = config.d_state
        lam, V = block_hippo(n, config.blocks)
        B = torch.randn(n, d_model, dtype=torch.float64) / math.sqrt(d_model)
        C = torch.randn(d_model, n, dtype=torch.float64) / math.sqrt(n)
        self.log_decay = nn.Parameter(torch.log(-lam.real).float())
        self.frequency = nn.Parameter(lam.imag.float())
        # V is unitary: its inverse is its adjoint
        self.B = nn.Parameter(torch.view_as_real(V.mH @ B.to(V.dtype)).float())
        self.C = nn.Parameter(torch.view_as_real(C.to(V.dtype) @ V).float())
        self.D = nn.Parameter(torch.randn(d_model))
        self.log_dt = nn.Parameter(log_uniform_steps(len(lam), config.dt_min, config.dt_max))

    def forward(self) -> ContinuousDiagonal:
        """lam (1, N/2), B (1, N/2, d_model), C (1, d_model, N/2), D (1, d_model, d_model), dt = 1.

        Time is counted in steps of each state.
        """
        step = positive(self.log_dt)
        lam = torch.complex(-positive(self.log_decay), self.frequency)
        return ContinuousDiagonal(
            lam=(step * lam)[None],
            B=(step[:, None] * torch.view_as_complex(self.B))[None],
            C=torch.view_as_complex(self.C)[None],
            D=torch.diag(self.D)[None],
            dt=torch.ones_like(step[:1]),
            conjugate=True,
        )


def block_hippo(
    d_state: int, blocks: int
) -> tuple[Complex[Tensor, " modes"], Complex[Tensor, "N modes"]]:
    """Poles with positive imaginary part, and their eigenvectors, of J = ``blocks`` heads of
    :func:`hippo_normal` on a diagonal; complex128, N = ``d_state``, N/2 modes."""
    lam, V = hippo_normal(d_state // blocks)
    return lam.repeat(blocks), torch.block_diag(*[V] * blocks)


def hippo_normal(
    n: int,
) -> tuple[Complex[Tensor, " modes"], Complex[Tensor, "n modes"]]:
    """Half of the eigenvalues of HiPPO-LegS's normal part, -1/2 + i omega with omega > 0 ascending,
    and their unit eigenvectors (equation 7); n even, complex128."""
    parts = normal_plus_low_rank(Measure.legs, n)
    lam, V = torch.from_numpy(parts.lam), torch.from_numpy(parts.V)
    return lam[n // 2 :], V[:, n // 2 :].clone()


def _check(config: S5Config) -> None:
    fits = config.blocks > 0 and config.d_state % (2 * config.blocks) == 0
    require(
        fits,
        "d_state must be a positive multiple of 2 * blocks (each block holds conjugate pairs), "
        f"got d_state={config.d_state} and blocks={config.blocks}",
    )
    check_step_sizes(config.dt_min, config.dt_max)
