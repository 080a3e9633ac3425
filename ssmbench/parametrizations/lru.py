"""LRU: linear recurrent units (Orvieto et al. 2023, arXiv 2303.06349).

``x[k+1] = lam x[k] + gamma (B u[k])``, ``y[k] = Re(C x[k]) + D u[k]`` with complex states,
``lam = exp(-exp(nu) + i exp(theta))`` (section 3.3), moduli drawn from a ring, uniformly in area
(lemma 3.2), and ``gamma = sqrt(1 - |lam|^2)``, which gives every state unit variance where u is
white with unit variance (proposition 3.3).

The paper keeps as many complex states as it likes and takes the real part of the output. A
system here stores one of each conjugate pair, ``y = 2 Re(C x) + D u``: so its C is half the
paper's, and the real system has twice as many states as the paper counts.

Departures from the published code: the state read at step k is the one *before* input k, control's
convention (``model.readout: after`` reads the published one); exp(nu) is kept above 2^-22, so that
rounding to float32 leaves every pole inside the unit circle; and with ``learn_gamma=false`` gamma
follows lam in training, instead of being a parameter that only starts there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssmbench.errors import require
from ssmbench.options import PAIRED_SIZE, option
from ssmbench.parametrizations.base import AS_WEIGHT, Parametrization, positive
from ssmbench.registry import parametrizations
from ssmbench.systems import DiscreteDiagonal

#: Distance of the poles to the unit circle at least: four roundings of float32.
GAP = 2.0**-22


@dataclass
class LRUConfig:
    """``d_state`` counts conjugates: ``d_state / 2`` complex states are stored, the paper's N.

    Poles start with moduli in [``r_min``, ``r_max``] and angles in [0, ``max_phase``] radians per
    sample; ``learn_gamma``: the input's normalisation is a parameter of its own, as published.
    ``whole_C``: the parameter C is the paper's, twice the system's. The systems are the same, but a
    step of Adam, whose size does not depend on the gradient's, changes a halved C twice as much.
    ``published_groups``: C and D are trained as weights, with decay.
    """

    d_state: int = option(64, PAIRED_SIZE)
    r_min: float = 0.9
    r_max: float = 0.999
    max_phase: float = 2 * math.pi
    learn_gamma: bool = True
    whole_C: bool = option(False, added=2)
    published_groups: bool = option(False, added=2)


@parametrizations.register(
    "lru",
    config=LRUConfig,
    citation="Orvieto, Smith, Gu, Fernando, Gulcehre, Pascanu, De 2023, Resurrecting Recurrent "
    "Neural Networks for Long Sequences, arXiv 2303.06349",
)
class LRU(Parametrization):
    """One multi-channel discrete diagonal system, |lam| = exp(-exp(nu)) < 1: always stable."""

    system_type = DiscreteDiagonal
    stable_by_construction = True
    output_parameters = ("C",)
    direct_parameters = ("D",)
    published: ClassVar = {"C": AS_WEIGHT, "D": AS_WEIGHT}
    no_discretizer_reason = (
        "its poles are parametrized on the unit disc itself and it has no step size, so it returns "
        "a discrete system and there is nothing left to discretize"
    )

    def __init__(self, config: LRUConfig, *, d_model: int):
        super().__init__()
        _check(config)
        modes = config.d_state // 2
        decay = ring_decays(modes, config.r_min, config.r_max)
        self.nu = nn.Parameter(torch.log(decay).float())
        # 1 - rand is in (0, 1]: the angle 0 has no logarithm
        angle = config.max_phase * (1 - torch.rand(modes))
        self.theta = nn.Parameter(torch.log(angle))
        self.B = nn.Parameter(torch.randn(modes, d_model, 2) / math.sqrt(2 * d_model))
        # published standard deviation 1 / sqrt(N) a part, halved: y = 2 Re(C x)
        C = torch.randn(d_model, modes, 2) / (2 * math.sqrt(modes))
        self.whole_C, self.published_groups = config.whole_C, config.published_groups
        self.C = nn.Parameter(2 * C if config.whole_C else C)
        self.D = nn.Parameter(torch.randn(d_model))
        self.log_gamma = (
            nn.Parameter(torch.log(unit_variance(decay)).float()) if config.learn_gamma else None
        )

    def forward(self) -> DiscreteDiagonal:
        """lam (1, N), B (1, N, d_model), C (1, d_model, N), D (1, d_model, d_model)."""
        decay = positive(self.nu) + GAP
        lam = torch.polar(torch.exp(-decay), positive(self.theta))
        gamma = unit_variance(decay) if self.log_gamma is None else positive(self.log_gamma)
        return DiscreteDiagonal(
            lam=lam[None],
            B=(gamma[:, None] * torch.view_as_complex(self.B))[None],
            C=torch.view_as_complex(self.C / 2 if self.whole_C else self.C)[None],
            D=torch.diag(self.D)[None],
            conjugate=True,
        )


def ring_decays(modes: int, r_min: float, r_max: float) -> Float[Tensor, " N"]:
    """-log abs(lam) (N,) float64, with lam uniform in area between the two radii (lemma 3.2)."""
    share = torch.rand(modes, dtype=torch.float64)
    return -torch.log(share * (r_max**2 - r_min**2) + r_min**2) / 2


def unit_variance(decay: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """sqrt(1 - |lam|^2) from decay = -log |lam|, without cancellation near the unit circle."""
    return torch.sqrt(-torch.expm1(-2 * decay))


def _check(config: LRUConfig) -> None:
    require(
        0 <= config.r_min < config.r_max <= 1,
        f"needs 0 <= r_min < r_max <= 1, got r_min={config.r_min} and r_max={config.r_max}",
    )
    require(
        0 < config.max_phase <= 2 * math.pi,
        f"max_phase must be in (0, 2 pi], got {config.max_phase}",
    )
