"""Diagonal systems with a prescribed L2 gain, built from contractions, at the speed of a scan.

``x[k+1] = A x + B u, y = C x + D u`` has L2 gain at most gamma when the block matrix
``K = [A, B / sqrt(gamma); C / sqrt(gamma), D / gamma]`` is a contraction, ||K||_2 <= 1: energy
``|x|^2`` is then a storage function (bounded-real lemma with P = I). Here A is block-diagonal with
scaled rotations ``rho R(theta)``: normal, so that its defect ``(I - A A')^(1/2)`` is diagonal, and
the recurrence is a diagonal complex scan whatever the number of inputs and outputs. The rows of
that defect are the LRU paper's normalisation of the input, here derived.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from ssmbench.errors import require
from ssmbench.linalg.factorizations import cholesky
from ssmbench.linalg.orthogonal import cayley, limited
from ssmbench.linalg.precision import straight_through
from ssmbench.options import PAIRED_SIZE, POSITIVE, option
from ssmbench.parametrizations.base import GAIN_IS_DISCRETE, Parametrization
from ssmbench.registry import parametrizations
from ssmbench.systems import ContinuousDiagonal, DiagonalSystem, DiscreteDiagonal

Diagonal = TypeVar("Diagonal", bound=DiagonalSystem)

#: Smallest -log|lam|: float32 rounds |lam| by 6e-8, and no rounding may reach the unit circle.
_SMALLEST_DECAY = 2.5e-7
#: There |lam| is 1e-64, and beyond it the exponential would overflow.
_LARGEST_LOG_DECAY = 5.0


@dataclass
class ContractionConfig:
    """Gain ``gamma``; ``d_state`` counts conjugates; where the poles start: moduli from
    ``radius_min`` to ``radius``, log-uniform in 1 - modulus, and phases evenly in
    [0, ``max_phase``] radians per sample; ``spread``: initial size of X0 and Y0."""

    gamma: float = option(1.0, POSITIVE)
    d_state: int = option(32, PAIRED_SIZE)
    radius_min: float = 0.9
    radius: float = 0.999
    max_phase: float = math.pi
    spread: float = 0.7


class Rotations(nn.Module):
    """Poles lam (P,) = exp(-e^nu + i theta), one of each conjugate pair."""

    def __init__(self, pairs: int, radius_min: float, radius: float, max_phase: float):
        super().__init__()
        gaps = torch.linspace(math.log(1 - radius), math.log(1 - radius_min), pairs)
        decay = -torch.log1p(-gaps.double().exp())
        self.log_decay = nn.Parameter(torch.log(decay).float())
        phases = torch.linspace(0, max_phase, pairs + 2)[1:-1]
        self.theta = nn.Parameter(phases)

    def forward(self) -> Complex[Tensor, " P"]:
        """complex128, but with values that complex64 holds exactly.

        The defects are computed from the poles that will be scanned: at 1 - |lam| = 1e-6, rounding
        lam afterwards would move its gap, and with it the gain, by several percent.
        """
        log_decay = self.log_decay.double().clamp_max(_LARGEST_LOG_DECAY)
        decay = torch.exp(log_decay) + _SMALLEST_DECAY
        lam = torch.polar(torch.exp(-decay), self.theta.double())
        kept = torch.complex64 if self.theta.dtype == torch.float32 else torch.complex128
        return straight_through(lam, lam.to(kept).to(lam.dtype))


@parametrizations.register(
    "contraction",
    config=ContractionConfig,
    citation="this work; completion: Parrott 1978, J. Funct. Anal. 30:311, and Davis, Kahan, "
    "Weinberger 1982, SIAM J. Numer. Anal. 19:445",
)
class Contraction(Parametrization):
    """Contraction completion with normal A, the skip inside: ||G||_inf <= gamma always.

    ``B = (I - A A')^(1/2) X``, ``C = Y (I - A' A)^(1/2)`` and
    ``D = -Y A' X + (I - Y Y')^(1/2) Z (I - X' X)^(1/2)`` with contractions X, Y, Z (Parrott's
    theorem). Cholesky factors take the place of the matrix roots: ``Rx Rx' = I + X0' X0``,
    ``X = X0 Rx^-T`` and so ``I - X' X = Rx^-1 Rx^-T``; Y likewise; Z orthogonal by Cayley's map,
    the identity at the start, so that a new layer is close to a skip connection.
    """

    system_type = DiscreteDiagonal
    stable_by_construction = True
    no_discretizer_reason = GAIN_IS_DISCRETE

    def __init__(self, config: ContractionConfig, *, d_model: int, outputs: int | None = None):
        super().__init__()
        check_config(config)
        self.gamma = config.gamma
        pairs, outputs = config.d_state // 2, outputs or d_model
        self.poles = Rotations(pairs, config.radius_min, config.radius, config.max_phase)
        self.X0 = nn.Parameter(config.spread * torch.randn(2 * pairs, d_model))
        self.Y0 = nn.Parameter(config.spread * torch.randn(outputs, 2 * pairs))
        self.S = nn.Parameter(torch.zeros(max(d_model, outputs), max(d_model, outputs)))

    def declared_gain(self) -> float:
        """gamma."""
        return self.gamma

    def forward(self) -> DiscreteDiagonal:
        """lam (1, P), B (1, P, m), C (1, p, P), D (1, p, m); in float64, then rounded."""
        return rounded(self._exact(), self.S.dtype)

    def _exact(self) -> DiscreteDiagonal:
        lam = self.poles()
        parts = completion(lam, self.X0.double(), self.Y0.double(), self.S.double())
        return of_gain(self.gamma, lam, *parts)


@dataclass
class ContinuousContractionConfig(ContractionConfig):
    """``dt``: the step size at which Tustin's transform gives back the discrete contraction."""

    dt: float = option(1.0, POSITIVE)


@parametrizations.register(
    "contraction_continuous",
    config=ContinuousContractionConfig,
    citation="this work; Tustin 1947, J. IEE 94(IIA):130",
)
class ContinuousContraction(Contraction):
    """Inverse Tustin transform of ``contraction``: a continuous system with ||G||_inf <= gamma.

    Tustin's discretizer gives the contraction back, with its gain; another discretizer may break
    the bound, and by how much can be measured, since the continuous gain is known.
    """

    system_type = ContinuousDiagonal

    def __init__(
        self, config: ContinuousContractionConfig, *, d_model: int, outputs: int | None = None
    ):
        super().__init__(config, d_model=d_model, outputs=outputs)
        self.dt = config.dt

    def forward(self) -> ContinuousDiagonal:
        """lam (1, P), B (1, P, m), C (1, p, P), D (1, p, m), dt (1,); in float64, then rounded."""
        return rounded(inverse_tustin(self._exact(), self.dt), self.S.dtype)


def inverse_tustin(system: DiscreteDiagonal, dt: float) -> ContinuousDiagonal:
    """The continuous system whose Tustin transform at step ``dt`` is the given one.

    With M = (I - hA/2)^-1 the discrete matrix is 2M - I, so M comes from it without a division by
    A; poles at -1 are those at infinity and have no continuous counterpart.
    """
    M = (1 + system.lam) / 2
    direct = system.C / M[:, None] @ system.B / 2
    return ContinuousDiagonal(
        lam=2 / dt * (1 - 1 / M),
        B=system.B / M[..., None] / dt,
        C=system.C / M[:, None],
        D=system.D - (2 * direct.real if system.conjugate else direct),
        dt=system.D.new_full((system.heads,), dt),
        conjugate=system.conjugate,
    )


def of_gain(gamma: float, lam: Tensor, B: Tensor, C: Tensor, D: Tensor) -> DiscreteDiagonal:
    """A system with H = 1 from a contraction [A, B; C, D], its gain scaled to gamma."""
    root = math.sqrt(gamma)
    return DiscreteDiagonal(
        lam=lam[None], B=root * B[None], C=root * C[None], D=gamma * D[None], conjugate=True
    )


def rounded(system: Diagonal, dtype: torch.dtype) -> Diagonal:
    """The system in the precision of its parameters, so that the scan runs in it."""
    if dtype == torch.float64:
        return system
    return system.single()


def completion(
    lam: Complex[Tensor, " P"],
    X0: Float[Tensor, "2*P m"],
    Y0: Float[Tensor, "p 2*P"],
    S: Float[Tensor, "k k"],
) -> tuple[Complex[Tensor, "P m"], Complex[Tensor, "p P"], Float[Tensor, "p m"]]:
    """B, C and D that make [A, B; C, D] a contraction, for k = max(m, p); see the class.

    A real pair of states (x1, x2) is the complex state x1 + i x2, so that X's rows 2j and 2j + 1
    become one complex row. X0 and Y0 enter through ``limited``, where X and Y have norm 1 - 1e-12.
    """
    X0, Y0 = limited(X0), limited(Y0)
    Rx = cholesky(_eye(X0.shape[1], X0) + X0.T @ X0)
    Ry = cholesky(_eye(len(Y0), Y0) + Y0 @ Y0.T)
    X = torch.linalg.solve_triangular(Rx, X0.T, upper=False).T
    Y = torch.linalg.solve_triangular(Ry, Y0, upper=False)
    X, Y = torch.complex(X[0::2], X[1::2]), torch.complex(Y[:, 0::2], -Y[:, 1::2])
    Z = cayley(S)[: len(Y0), : X0.shape[1]]  # a part of an orthogonal matrix is a contraction
    inner = torch.linalg.solve_triangular(Ry, Z, upper=False)
    inner = torch.linalg.solve_triangular(Rx, inner.T, upper=False).T
    D = inner - (Y @ (lam.conj()[:, None] * X)).real
    defect = torch.sqrt(1 - lam.real.square() - lam.imag.square())
    return defect[:, None] * X, Y * defect / 2, D


def _eye(size: int, like: Tensor) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device)


def check_config(config: ContractionConfig) -> None:
    """Raise a UsageError unless the numbers can be met."""
    require(
        0 < config.radius_min <= config.radius <= 1 - 1e-6,
        f"needs 0 < radius_min <= radius <= 1 - 1e-6, got "
        f"radius_min={config.radius_min} and radius={config.radius}",
    )
    require(
        0 <= config.max_phase <= math.pi,
        f"max_phase must be in [0, pi], got {config.max_phase}",
    )
