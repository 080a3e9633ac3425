"""S5: one multi-channel diagonal system (Smith, Warrington, Linderman 2023, arXiv 2208.04933).

Where S4D has a bank of single-channel systems, S5 has one system of N states that reads and writes
all ``d_model`` channels (section 3.1). It starts as the normal part of HiPPO-LegS, or as J blocks
of it (section 3.4 and appendix B.1), whose eigenvectors V are rotated into B and C once, at
initialisation: ``B~ = V^-1 B`` and ``C~ = C V`` (equation 5).

Every state has a step size Delta_n of its own (section 3.4). A system here has one, so
Delta_n is folded in: with time counted in steps of the state, ``lam_n' = Delta_n lam_n`` and
``B_n' = Delta_n B_n`` at step size 1. Any discretizer sees h lam and h B only, so the result is
the paper's; the frequency response of the *continuous* system is that in each state's own time.

Departures from the published code: ``Re lam = -exp(log_decay)``, unless ``real_part: clip`` asks
for that of the published ``clip_eigs``, a parameter that is cut off at -1e-4 (without that option
the published one may turn positive; up to there it is the same); the output is ``y[k] = C x[k] + D
u[k]`` with the state *before* input k, control's convention (``model.readout: after`` reads the
published one); both directions of time, which share everything but C, are the network's
(``model.tied``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from ssmbench.errors import require
from ssmbench.options import PAIRED_SIZE, one_of, option
from ssmbench.parametrizations.base import (
    AS_WEIGHT,
    Parametrization,
    check_step_sizes,
    log_uniform_steps,
    positive,
)
from ssmbench.parametrizations.hippo import Measure, normal_plus_low_rank
from ssmbench.registry import parametrizations
from ssmbench.systems import ContinuousDiagonal

_C_INITS = ("normal", "trunc_standard_normal", "lecun_normal", "complex_normal")

#: Bounds of the decay of ``real_part: clip``: the published one, and what float32 can multiply.
_SMALLEST_DECAY, _LARGEST_DECAY = 1e-4, 1e17

#: Standard deviation of a standard normal variable that is cut off at -2 and 2.
_CUT_DEVIATION = 0.87962566103423978


@dataclass
class S5Config:
    """``d_state`` counts conjugates, so ``d_state / 2`` modes are stored; ``blocks`` is J.

    ``B_init`` and ``C_init``: the distributions of B and C at the start (:func:`initial_B`,
    :func:`initial_C`). The published ones are ``lecun_normal`` for B, and for C
    ``trunc_standard_normal`` (the default there), ``lecun_normal`` or ``complex_normal``.

    ``real_part`` of the poles: exp, -exp(log_decay), or clip, a parameter cut off at -1e-4.
    ``published_groups``: C and D are trained as weights, with decay, the published ``opt_config:
    standard``; the others, which move B, C or the step sizes to another group, with
    ``optimizer.groups``.
    """

    d_state: int = option(64, PAIRED_SIZE)
    blocks: int = 1
    dt_min: float = 0.001
    dt_max: float = 0.1
    B_init: str = option("normal", one_of("normal", "lecun_normal"), added=2)
    C_init: str = option("normal", one_of(*_C_INITS), added=2)
    real_part: str = option("exp", one_of("exp", "clip"), added=2)
    published_groups: bool = option(False, added=2)


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
    output_parameters = ("C",)
    direct_parameters = ("D",)
    published: ClassVar = {"C": AS_WEIGHT, "D": AS_WEIGHT}

    def __init__(self, config: S5Config, *, d_model: int):
        super().__init__()
        _check(config)
        n = config.d_state
        lam, V = block_hippo(n, config.blocks)
        B = initial_B(config.B_init, V, d_model)
        C = initial_C(config.C_init, V, d_model)
        self.published_groups = config.published_groups
        if config.real_part == "exp":
            self.log_decay = nn.Parameter(torch.log(-lam.real).float())
            self.register_parameter("real", None)
        else:
            self.real = nn.Parameter(lam.real.float())
        self.frequency = nn.Parameter(lam.imag.float())
        self.B = nn.Parameter(torch.view_as_real(B).float())
        self.C = nn.Parameter(torch.view_as_real(C).float())
        self.D = nn.Parameter(torch.randn(d_model))
        self.log_dt = nn.Parameter(log_uniform_steps(len(lam), config.dt_min, config.dt_max))

    def forward(self) -> ContinuousDiagonal:
        """lam (1, N/2), B (1, N/2, d_model), C (1, d_model, N/2), D (1, d_model, d_model), dt = 1.

        Time is counted in steps of each state.
        """
        step = positive(self.log_dt)
        lam = torch.complex(self._real_part(), self.frequency)
        return ContinuousDiagonal(
            lam=(step * lam)[None],
            B=(step[:, None] * torch.view_as_complex(self.B))[None],
            C=torch.view_as_complex(self.C)[None],
            D=torch.diag(self.D)[None],
            dt=torch.ones_like(step[:1]),
            conjugate=True,
        )

    def _real_part(self) -> Float[Tensor, " modes"]:
        if self.real is None:
            return -positive(self.log_decay)
        return self.real.clamp(-_LARGEST_DECAY, -_SMALLEST_DECAY)


def initial_B(init: str, V: Complex[Tensor, "N modes"], d_model: int) -> Complex[Tensor, "modes d"]:
    """``V^-1 B``, B real and independent: normal of variance 1 / d_model, or ``lecun_normal``, as
    published, of variance 1 / N and cut off at two standard deviations of the uncut variable
    (lindermanlab/S5 at 3c18fdb, s5/ssm_init.py, init_VinvB).

    The states' rms with ``lecun_normal`` is sqrt(d_model / N) times that with ``normal``.
    """
    n = len(V)
    if init == "normal":
        B = torch.randn(n, d_model, dtype=torch.float64) / math.sqrt(d_model)
    else:
        B = _cut_normal(n, d_model) / math.sqrt(n)
    return V.mH @ B.to(V.dtype)  # V is unitary: its inverse is its adjoint


def initial_C(init: str, V: Complex[Tensor, "N modes"], d_model: int) -> Complex[Tensor, "d modes"]:
    """``C V``, or C itself for ``complex_normal`` (lindermanlab/S5 at 3c18fdb, s5/ssm.py, setup).

    ``normal``: real C of variance 1 / N. ``trunc_standard_normal`` and ``lecun_normal``: real and
    imaginary parts of variance 1 / N each, or 1 / (N d_model), cut off at two standard deviations.
    ``complex_normal``: real and imaginary parts of variance 1/2 each.
    """
    n, modes = V.shape
    if init == "normal":
        C = torch.randn(d_model, n, dtype=torch.float64) / math.sqrt(n)
        return C.to(V.dtype) @ V
    if init == "complex_normal":
        return torch.randn(d_model, modes, dtype=V.dtype)  # of variance 1
    variance = n if init == "trunc_standard_normal" else n * d_model
    return torch.view_as_complex(_cut_normal(d_model, n, 2) / math.sqrt(variance)) @ V


def _cut_normal(*shape: int) -> Float[Tensor, ...]:
    """Normal numbers, float64, cut off at two standard deviations and scaled to variance 1."""
    cut = nn.init.trunc_normal_(torch.empty(shape, dtype=torch.float64), a=-2, b=2)
    return cut / _CUT_DEVIATION


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
