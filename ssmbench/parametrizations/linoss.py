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
stays one, for its gradient is zero; B and C are real, as in the equations (the code carries complex
ones and takes the real part); the state read at step k is the one *before* input k, control's
convention (``model.readout: after`` reads the published one).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor, nn

from ssmbench.options import PAIRED_SIZE, option
from ssmbench.parametrizations.base import Parametrization, positive
from ssmbench.registry import parametrizations
from ssmbench.systems import ContinuousOscillator


class Stiffness(Enum):
    """What keeps a from being negative."""

    exp = "exp"
    relu = "relu"


@dataclass
class LinOSSConfig:
    """``d_state`` counts positions and velocities: there are ``d_state / 2`` oscillators."""

    d_state: int = option(64, PAIRED_SIZE)
    constraint: Stiffness = Stiffness.exp


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

    def __init__(self, config: LinOSSConfig, *, d_model: int):
        super().__init__()
        count = config.d_state // 2
        self.constraint = config.constraint
        a = 1 - torch.rand(count)  # in (0, 1]: 0 has no logarithm
        self.stiffness = nn.Parameter(torch.log(a) if config.constraint is Stiffness.exp else a)
        self.step = nn.Parameter(torch.rand(count))
        self.B = nn.Parameter(_uniform(count, d_model))
        self.C = nn.Parameter(_uniform(d_model, count))
        self.D = nn.Parameter(torch.randn(d_model))

    def forward(self) -> ContinuousOscillator:
        """a, g = 0 (1, N), B (1, N, d_model), C (1, d_model, N), D (1, d_model, d_model), dt = 1.

        Time is counted in steps of each oscillator.
        """
        exponential = self.constraint is Stiffness.exp
        a = positive(self.stiffness) if exponential else torch.relu(self.stiffness)
        square = torch.sigmoid(self.step).square()
        return ContinuousOscillator(
            a=(square * a)[None],
            g=torch.zeros_like(a)[None],
            B=(square[:, None] * self.B)[None],
            C=self.C[None],
            C_v=torch.zeros_like(self.C)[None],
            D=torch.diag(self.D)[None],
            dt=torch.ones_like(a[:1]),
        )


def _uniform(rows: int, columns: int) -> Tensor:
    """Uniform in +- 1 / sqrt(columns), as published."""
    return (2 * torch.rand(rows, columns) - 1) / math.sqrt(columns)
