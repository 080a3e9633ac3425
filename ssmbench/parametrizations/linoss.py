"""LinOSS: forced harmonic oscillators (Rusch and Rus 2024, arXiv 2410.03943).

``q'' = -a q + B u``, ``y = C q + D u`` (equation 1) with diagonal a >= 0. The paper's two models
are this parametrization and a discretizer: LinOSS-IM is ``backward_euler``, whose poles have
modulus 1 / sqrt(1 + h^2 a); LinOSS-IMEX is ``symplectic_euler``, whose poles lie on the unit circle
for h^2 a < 4. There, and in continuous time, nothing is damped: the gain is infinite.

Every oscillator has a step size Delta_n = sigmoid(step) of its own. A system here has one, so
Delta_n is folded in: with time counted in steps of the oscillator, ``a_n' = Delta_n^2
a_n`` and ``B_n' = Delta_n^2 B_n`` at step size 1, which gives the paper's recurrence.

Departures from the published code: a = exp(log_a), unless ``constraint=relu`` asks for the
published ReLU, under which an oscillator that reaches a = 0 is an undamped double integrator and
stays one, for its gradient is zero; B and C are real, as in the equations, unless
``complex_matrices`` asks for those of the code, which takes the real part of the output: q is then
complex, which is two real oscillators of equal stiffness and step, driven by Re B and Im B and read
by Re C and -Im C, the same as real matrices with twice the oscillators, shared a and Delta; the
state read at step k is the one *before* input k, control's convention (``model.readout: after``
reads the published one).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import torch
from torch import Tensor, nn

from ssmbench.errors import require
from ssmbench.options import PAIRED_SIZE, option
from ssmbench.parametrizations.base import AS_BIAS, Parametrization, positive
from ssmbench.registry import parametrizations
from ssmbench.systems import ContinuousOscillator


class Stiffness(Enum):
    """What keeps a from being negative."""

    exp = "exp"
    relu = "relu"


@dataclass
class LinOSSConfig:
    """``d_state`` counts positions and velocities: there are ``d_state / 2`` oscillators.

    ``complex_matrices``: B and C are complex, as in the published code, with ``d_state / 4``
    oscillators of complex position, the published ``ssm_dim``; ``d_state`` is a multiple of 4.
    ``published_groups``: every parameter has the main learning rate, without decay, as published.
    """

    d_state: int = option(64, PAIRED_SIZE)
    constraint: Stiffness = Stiffness.exp
    complex_matrices: bool = option(False, added=2)
    published_groups: bool = option(False, added=2)


@parametrizations.register(
    "linoss",
    config=LinOSSConfig,
    citation="Rusch and Rus 2024, Oscillatory State-Space Models, arXiv 2410.03943",
)
class LinOSS(Parametrization):
    """Undamped oscillators: the gain is infinite unless the discretizer adds damping."""

    system_type = ContinuousOscillator
    stable_by_construction = False  # on the boundary
    output_parameters = ("C",)
    direct_parameters = ("D",)
    published: ClassVar = dict.fromkeys(("stiffness", "step", "B", "C", "D"), AS_BIAS)

    def __init__(self, config: LinOSSConfig, *, d_model: int):
        super().__init__()
        count = _count(config)
        self.constraint, self.published_groups = config.constraint, config.published_groups
        self.complex_matrices = config.complex_matrices
        a = 1 - torch.rand(count)  # in (0, 1]: 0 has no logarithm
        self.stiffness = nn.Parameter(torch.log(a) if config.constraint is Stiffness.exp else a)
        self.step = nn.Parameter(torch.rand(count))
        parts = (2,) if config.complex_matrices else ()
        self.B = nn.Parameter(_uniform(count, d_model, *parts))
        self.C = nn.Parameter(_uniform(d_model, count, *parts))
        self.D = nn.Parameter(torch.randn(d_model))

    def forward(self) -> ContinuousOscillator:
        """a, g = 0 (1, N), B (1, N, d_model), C (1, d_model, N), D (1, d_model, d_model), dt = 1.

        Time is counted in steps of each oscillator.
        """
        exponential = self.constraint is Stiffness.exp
        a = positive(self.stiffness) if exponential else torch.relu(self.stiffness)
        square = torch.sigmoid(self.step).square()
        B, C = self.B, self.C
        if self.complex_matrices:  # two real oscillators, one after the other, for each complex one
            a, square = a.repeat_interleave(2), square.repeat_interleave(2)
            B = B.movedim(-1, 1).flatten(0, 1)
            C = torch.stack([C[..., 0], -C[..., 1]], -1).flatten(1)
        return ContinuousOscillator(
            a=(square * a)[None],
            g=torch.zeros_like(a)[None],
            B=(square[:, None] * B)[None],
            C=C[None],
            C_v=torch.zeros_like(C)[None],
            D=torch.diag(self.D)[None],
            dt=torch.ones_like(a[:1]),
        )


def _count(config: LinOSSConfig) -> int:
    """The number of oscillators that have a stiffness of their own."""
    if not config.complex_matrices:
        return config.d_state // 2
    require(
        config.d_state % 4 == 0,
        "d_state must be a multiple of 4 with complex_matrices (positions are complex), "
        f"got {config.d_state}",
    )
    return config.d_state // 4


def _uniform(rows: int, columns: int, *parts: int) -> Tensor:
    """Uniform in +- 1 / sqrt(columns), as published."""
    return (2 * torch.rand(rows, columns, *parts) - 1) / math.sqrt(columns)
