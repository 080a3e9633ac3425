"""Matrices as they are: A, B, C and D are the parameters, with no constraint on their values.

For systems that come from elsewhere (``ssmbench import``), and as a starting point of experiments
with structures of their own. Nothing keeps poles in the stable region.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from ssmbench.errors import require
from ssmbench.options import POSITIVE, POSITIVE_COUNT, SIZE, one_of, option
from ssmbench.parametrizations.base import Parametrization, log_uniform_steps, positive
from ssmbench.parametrizations.lru import GAP
from ssmbench.registry import parametrizations
from ssmbench.systems import ContinuousDense, DiscreteDense, DiscreteDiagonal, DiscreteSystem

#: The forms of ``discrete_matrices``.
FORMS = ("dense", "pairs", "polar")
#: The least modulus of a pole that is given by its decay, and the least decay beside the gap.
_LEAST = 1e-12


@dataclass
class DiscreteMatricesConfig:
    """``heads`` systems side by side, of d_model / heads channels and ``d_state`` states each.

    ``form``: ``dense``, A real (H, N, N); ``pairs``, a diagonal of N / 2 complex poles (H, N / 2),
    one of each conjugate pair; ``polar``, the same by decay and angle, lam = exp(-decay + i angle),
    which is stable for all values. ``radius``: the modulus of the poles at the start.
    """

    d_state: int = option(64, SIZE)
    heads: int = option(1, POSITIVE_COUNT)
    form: str = option("dense", one_of(*FORMS))
    radius: float = option(0.9, POSITIVE)


@dataclass
class ContinuousMatricesConfig:
    """``heads`` systems side by side, of d_model / heads channels and ``d_state`` states each.

    ``decay``: minus the real part of the poles at the start; step sizes start log-uniform between
    ``dt_min`` and ``dt_max``.
    """

    d_state: int = option(64, SIZE)
    heads: int = option(1, POSITIVE_COUNT)
    decay: float = option(0.5, POSITIVE)
    dt_min: float = 0.001
    dt_max: float = 0.1


class _Matrices(Parametrization):
    """B (H, N, m), C (H, p, N), with a last dimension of 2 where they are complex; D (H, p, m)."""

    stable_by_construction = False
    output_parameters = ("C",)
    direct_parameters = ("D",)

    def _add_maps(self, d_model: int, heads: int, states: int, *parts: int) -> None:
        require(
            d_model % heads == 0,
            f"d_model={d_model} channels cannot be shared evenly by heads={heads}",
        )
        m = d_model // heads
        self.B = nn.Parameter(torch.randn(heads, states, m, *parts) / math.sqrt(m))
        self.C = nn.Parameter(torch.randn(heads, m, states, *parts) / states)
        self.D = nn.Parameter(torch.eye(m).expand(heads, m, m).clone())


@parametrizations.register("discrete_matrices", config=DiscreteMatricesConfig, citation="baseline")
class DiscreteMatrices(_Matrices):
    """A, B, C and D of a discrete-time system, free: it may be or become unstable.

    In the form ``polar`` it is stable for all values."""

    system_type = DiscreteSystem

    def __init__(self, config: DiscreteMatricesConfig, *, d_model: int):
        super().__init__()
        self.form, paired = config.form, config.form != "dense"
        n = config.d_state
        require(
            n % 2 == 0 or not paired,
            f"d_state must be even for form={self.form} (it counts conjugate pairs), got {n}",
        )
        count = n // 2 if paired else n
        self._add_maps(d_model, config.heads, count, *([2] if paired else []))
        poles = config.radius * rotations(n)
        if not paired:
            self.A = nn.Parameter(poles.expand(config.heads, n, n).clone())
            return
        lam = torch.stack([poles[0, ::2, ::2].diagonal(), poles[0, 1::2, ::2].diagonal()], -1)
        lam = lam.expand(config.heads, count, 2).clone()
        if self.form == "pairs":
            self.lam = nn.Parameter(lam)
            return
        parts = decay_and_angle(torch.view_as_complex(lam))
        self.log_decay = nn.Parameter(parts["log_decay"])
        self.angle = nn.Parameter(parts["angle"])

    def forward(self) -> DiscreteDense | DiscreteDiagonal:
        """A (H, N, N) or lam (H, N / 2); B (H, ., m), C (H, m, .), D (H, m, m)."""
        if self.form == "dense":
            return DiscreteDense(A=self.A, B=self.B, C=self.C, D=self.D)
        B, C = (torch.view_as_complex(x) for x in (self.B, self.C))
        if self.form == "pairs":
            lam = torch.view_as_complex(self.lam)
        else:
            lam = torch.polar(torch.exp(-positive(self.log_decay) - GAP), self.angle)
        return DiscreteDiagonal(lam=lam, B=B, C=C, D=self.D, conjugate=True)


def decay_and_angle(lam: Complex[Tensor, "H N"]) -> dict[str, Float[Tensor, "H N"]]:
    """The parameters ``log_decay`` and ``angle`` of poles inside the unit circle, in their
    precision. Poles of modulus below 1e-12 get this modulus, and poles that are nearer to the
    circle than :data:`ssmbench.parametrizations.lru.GAP` this distance."""
    exact = lam.to(torch.complex128)
    decay = -torch.log(exact.abs().clamp_min(_LEAST))
    found = {"log_decay": torch.log((decay - GAP).clamp_min(_LEAST)), "angle": exact.angle()}
    return {name: value.to(lam.real.dtype) for name, value in found.items()}


@parametrizations.register(
    "continuous_matrices", config=ContinuousMatricesConfig, citation="baseline"
)
class ContinuousMatrices(_Matrices):
    """A, B, C, D and step sizes of continuous-time systems, free: they may become unstable."""

    system_type = ContinuousDense

    def __init__(self, config: ContinuousMatricesConfig, *, d_model: int):
        super().__init__()
        n, heads = config.d_state, config.heads
        self._add_maps(d_model, heads, n)
        turns = rotations(n) - rotations(n).mT
        A = math.pi * n / 4 * turns - config.decay * torch.eye(n)
        self.A = nn.Parameter(A.expand(heads, n, n).clone())
        self.log_dt = nn.Parameter(log_uniform_steps(heads, config.dt_min, config.dt_max))

    def forward(self) -> ContinuousDense:
        """A (H, N, N), B (H, N, m), C (H, m, N), D (H, m, m), dt (H,)."""
        return ContinuousDense(A=self.A, B=self.B, C=self.C, D=self.D, dt=positive(self.log_dt))


def rotations(n: int) -> Float[Tensor, "1 n n"]:
    """Rotations by angles evenly in (0, pi / 2), in blocks of 2; 1 is left over where n is odd."""
    angles = math.pi / 2 * (torch.arange(n // 2) + 1) / (n // 2 + 1)
    blocks = [
        torch.stack([torch.stack([a.cos(), -a.sin()]), torch.stack([a.sin(), a.cos()])])
        for a in angles
    ]
    return torch.block_diag(*blocks, *([torch.ones(1, 1)] if n % 2 else []))[None]
