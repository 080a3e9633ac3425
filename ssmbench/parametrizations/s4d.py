"""S4D: diagonal state-space models (Gu, Gupta, Goel, Re 2022, arXiv 2206.11893).

A bank of H = d_model single-channel heads. Departures from the published code:

* B stays fixed at one (it only multiplies C), unless ``train_B``, or ``B_init: hippo``, which is
  that of S4D-LegS. The larger of the two published codes trains it, the minimal one does not;
* ``init: real`` starts with C of variance 1. The published kernel is twice that of a C of variance
  1/2 (state-spaces/s4 at e757cef, src/models/sequence/kernels/ssm.py with is_real), as if C had
  variance 2: ``C_scale: 1.4142135623730951``;
* the output is ``y[k] = C x[k] + D u[k]`` with the state *before* input k, control's convention,
  where the published kernel starts at C B: ``model.readout: after``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import torch
from jaxtyping import Complex, Float, Inexact
from torch import Tensor, nn

from ssmbench.errors import require
from ssmbench.options import POSITIVE, SIZE, Allowed, one_of, option
from ssmbench.parametrizations.base import (
    AS_WEIGHT,
    DT_TRANSFORMS,
    Parametrization,
    check_step_sizes,
    copies_of,
    for_each_head,
    free_steps,
    log_uniform_steps,
    positive,
    step_sizes,
)
from ssmbench.parametrizations.hippo import Measure, normal_plus_low_rank
from ssmbench.registry import parametrizations
from ssmbench.systems import ContinuousDiagonal


class S4DInit(Enum):
    """Initial poles: section 4 of the paper."""

    lin = "lin"
    inv = "inv"
    legs = "legs"
    real = "real"


@dataclass
class S4DConfig:
    """``d_state`` counts conjugates, so ``d_state / 2`` modes are stored (all, for ``real``).

    ``published_groups``: C and D are trained as in the published code, at the main learning rate
    and with weight decay, not as SSM parameters. ``B_init``: ones, fixed unless ``train_B``, or
    HiPPO's B, always trained (:func:`hippo_input`), which needs ``init: legs``. ``C_scale``
    multiplies the initial C. ``n_ssm``: trained copies of lam and B, of which head h has number
    h mod n_ssm; null for one each. ``dt_transform``: step sizes are e^p or log(1 + e^p) of the
    parameters ``log_dt``.
    """

    init: S4DInit = S4DInit.lin
    d_state: int = option(64, SIZE)
    dt_min: float = 0.001
    dt_max: float = 0.1
    published_groups: bool = False
    B_init: str = option("ones", one_of("ones", "hippo"), added=2)
    C_scale: float = option(1.0, (POSITIVE, Allowed("finite", math.isfinite)), added=2)
    train_B: bool = option(False, added=2)
    n_ssm: int | None = option(None, SIZE, added=2)
    dt_transform: str = option("exp", one_of(*DT_TRANSFORMS), added=2)


@parametrizations.register(
    "s4d",
    config=S4DConfig,
    citation="Gu, Gupta, Goel, Re 2022, On the Parameterization and Initialization of Diagonal "
    "State Space Models, arXiv 2206.11893",
)
class S4D(Parametrization):
    """Diagonal bank, Re(lam) = -exp(log_decay) < 0: stable for all parameter values."""

    system_type = ContinuousDiagonal
    stable_by_construction = True
    output_parameters = ("C",)
    direct_parameters = ("D",)
    published: ClassVar = {"C": AS_WEIGHT, "D": AS_WEIGHT}
    #: The trained B, complex numbers as pairs; None if it is fixed at ones.
    B: nn.Parameter | None

    def __init__(self, config: S4DConfig, *, d_model: int):
        super().__init__()
        require(
            config.init is S4DInit.real or config.d_state % 2 == 0,
            f"d_state must be even for init={config.init.name} (it counts conjugate pairs), got "
            f"{config.d_state}",
        )
        require(
            config.B_init == "ones" or config.init is S4DInit.legs,
            f"B_init=hippo is the input of init=legs; init is {config.init.name}",
        )
        check_step_sizes(config.dt_min, config.dt_max)
        copies = copies_of(config.n_ssm, d_model)
        lam = initial_poles(config.init, config.d_state)
        modes = len(lam)
        self.dt_transform = config.dt_transform
        self.conjugate = lam.is_complex()
        self.published_groups = config.published_groups
        self.log_decay = nn.Parameter(torch.log(-lam.real).float().expand(copies, -1).clone())
        if self.conjugate:
            self.frequency = nn.Parameter(lam.imag.float().expand(copies, -1).clone())
        parts = 2 if self.conjugate else 1
        scale = config.C_scale * math.sqrt(1 / parts)
        self.C = nn.Parameter(torch.randn(d_model, 1, modes, parts) * scale)
        self.D = nn.Parameter(torch.randn(d_model))
        log_dt = log_uniform_steps(d_model, config.dt_min, config.dt_max)
        self.log_dt = nn.Parameter(free_steps(log_dt, config.dt_transform))
        trained = config.train_B or config.B_init == "hippo"
        B = self._initial_input(config, copies, modes) if trained else None
        self.register_parameter("B", B)

    def _initial_input(self, config: S4DConfig, copies: int, modes: int) -> nn.Parameter:
        if config.B_init == "hippo":
            B = torch.view_as_real(hippo_input(config.d_state)).float()
        else:
            B = torch.ones(modes, dtype=torch.cfloat if self.conjugate else torch.float)
            B = torch.view_as_real(B) if self.conjugate else B
        return nn.Parameter(B.expand(copies, *B.shape).clone())

    def forward(self) -> ContinuousDiagonal:
        """lam (H, N), B (H, N, 1), C (H, 1, N), D (H, 1, 1), dt (H,)."""
        decay = -positive(self.log_decay)
        lam = torch.complex(decay, self.frequency) if self.conjugate else decay
        lam = for_each_head(lam, len(self.log_dt))
        B = torch.ones_like(lam) if self.B is None else self._input(self.B)
        C = torch.view_as_complex(self.C) if self.conjugate else self.C[..., 0]
        return ContinuousDiagonal(
            lam=lam,
            B=B[..., None],
            C=C,
            D=self.D[:, None, None],
            dt=step_sizes(self.log_dt, self.dt_transform),
            conjugate=self.conjugate,
        )

    def _input(self, B: Float[Tensor, "S N ..."]) -> Inexact[Tensor, "H N"]:
        """The B of every head, from the trained copies."""
        copies = torch.view_as_complex(B) if self.conjugate else B
        return for_each_head(copies, len(self.log_dt))


def initial_poles(init: S4DInit, d_state: int) -> Complex[Tensor, " N"] | Float[Tensor, " N"]:
    """The poles with positive imaginary part (all of them for ``real``), equations 8 to 10."""
    n = torch.arange(d_state // 2, dtype=torch.float64)
    if init is S4DInit.real:
        return -(torch.arange(d_state, dtype=torch.float64) + 1)
    if init is S4DInit.lin:
        return torch.complex(torch.full_like(n, -0.5), math.pi * n)
    if init is S4DInit.inv:
        return torch.complex(
            torch.full_like(n, -0.5), d_state / math.pi * (d_state / (2 * n + 1) - 1)
        )
    poles = normal_plus_low_rank(Measure.legs, d_state).lam[d_state // 2 :]  # equation 7
    return torch.from_numpy(poles.copy())


def hippo_input(d_state: int) -> Complex[Tensor, " N"]:
    """The B of S4D-LegS for :func:`initial_poles`, complex128: HiPPO-LegS's in the basis of its
    normal part, imaginary parts cut off at -2 and 2, not halved.

    As published (state-spaces/s4 at e757cef, src/models/sequence/kernels/dplr.py, dplr, and
    src/models/hippo/hippo.py, nplr with B_clip=2). The phases of eigenvectors are LAPACK's, for the
    modes with negative imaginary part, whose conjugates are stored here; signs, which do not matter
    to a random C, are those with Re B > 0.
    """
    B = torch.from_numpy(normal_plus_low_rank(Measure.legs, d_state).B[: d_state // 2].copy())
    B = B * torch.sign(B.real)
    return torch.complex(B.real, -B.imag.clamp(-2.0, 2.0)).flip(0)
