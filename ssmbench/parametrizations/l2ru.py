"""L2RU: square discrete systems with a prescribed L2 gain, for every parameter value.

Massai, Zakwan, Ferrari-Trecate, "L2RU: a Structured State Space Model with prescribed L2-bound",
arXiv 2503.23818 (v1: "Free Parametrization of L2-bounded State Space Models"), the complete square
parametrization. Departures from the published code:

* ``P = H11 + H12 (-V)^-1 H12'`` by a Cholesky factor of -V, with no added jitter and no inverse;
* the state is returned in coordinates ``z = gamma^(-1/2) L' x`` with ``P = L L'``. There the
  realization ``[A, B/gamma^(1/2); C/gamma^(1/2), D/gamma]`` is a contraction, so rounding to
  float32 moves the gain by rounding only, however ill-conditioned P is. The map from u to y is
  the same;
* the orthogonal matrix Q multiplies M = (-V)^(-1/2) H12' itself, where the published code has the
  upper Cholesky factor R of M'M = H12 (-V)^-1 H12': ``published_Q: true``. With M = Q_M R the
  systems are those of another Q, Q Q_M' in place of Q, so the families are the same, but for the
  orthogonal matrices that Cayley's map does not reach, and so is the initialisation, where M is a
  positive diagonal. Where M is singular R exists, without a gradient; the published code has no
  system there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssmbench.errors import require
from ssmbench.linalg.factorizations import cholesky
from ssmbench.linalg.largest_eigenvalue import largest_eigenvalue
from ssmbench.linalg.orthogonal import cayley
from ssmbench.options import POSITIVE, option
from ssmbench.parametrizations.base import AS_BIAS, GAIN_IS_DISCRETE, Parametrization
from ssmbench.registry import parametrizations
from ssmbench.systems import DiscreteDense


class NormBound(Enum):
    """How the norm of Z is bounded: all keep the gain's guarantee, only ``spectral`` is tight."""

    spectral = "spectral"
    frobenius = "frobenius"
    gershgorin = "gershgorin"


@dataclass
class L2RUConfig:
    """Gain ``gamma``, and where the poles start: moduli from ``radius_min`` to ``radius``
    (log-uniform in 1 - modulus), angles evenly in [0, ``max_phase``] radians per sample.

    ``published_Q``: where Q enters, as published (see this module's text).
    ``published_groups``: every parameter has the main learning rate, without decay, as in the
    published code (DecodEPFL/SSM at 32fa0e4, scripts/compare_l2ru_vs_zak.py)."""

    gamma: float = option(1.0, POSITIVE)
    learn_gamma: bool = False
    norm: NormBound = NormBound.spectral
    radius_min: float = 0.9
    radius: float = 0.999
    max_phase: float = 1.5
    epsilon: float = -5.0
    published_Q: bool = option(False, added=2)
    published_groups: bool = option(False, added=2)


# Initialisation: a mode's C-part carries 1 / _SPLIT of the loss that its modulus allows.
_SPLIT = 1.25
_X11_SHARE = 0.1
_X22_SCALE = 0.1


@parametrizations.register(
    "l2ru",
    config=L2RUConfig,
    citation="Massai, Zakwan, Ferrari-Trecate 2025, L2RU, arXiv 2503.23818",
)
class L2RU(Parametrization):
    """Square discrete system (N = d_model) with ||G||_inf <= gamma for all parameter values."""

    system_type = DiscreteDense
    stable_by_construction = True
    no_discretizer_reason = GAIN_IS_DISCRETE
    published: ClassVar = dict.fromkeys(
        ("log_gamma", "X11", "X21", "X22", "C", "Dt", "Y", "alpha"), AS_BIAS
    )

    log_gamma: Tensor
    X11: nn.Parameter
    X21: nn.Parameter
    X22: nn.Parameter
    C: nn.Parameter
    Dt: nn.Parameter
    Y: nn.Parameter
    alpha: nn.Parameter

    def __init__(self, config: L2RUConfig, *, d_model: int):
        super().__init__()
        _check(config)
        self.norm, self.epsilon = config.norm, config.epsilon
        self.published_Q, self.published_groups = config.published_Q, config.published_groups
        log_gamma = torch.tensor(math.log(config.gamma), dtype=torch.float64)
        if config.learn_gamma:
            self.log_gamma = nn.Parameter(log_gamma.float())
        else:
            self.register_buffer("log_gamma", log_gamma)
        for name, value in _initial_parameters(config, d_model).items():
            setattr(self, name, nn.Parameter(value.float()))

    def declared_gain(self) -> float:
        """gamma."""
        return self._gamma().item()

    def _gamma(self) -> Float[Tensor, ""]:
        return self.log_gamma.double().clamp(-_LARGEST_LOG_GAMMA, _LARGEST_LOG_GAMMA).exp()

    def forward(self) -> DiscreteDense:
        """A, B, C, D (1, N, N), in contraction coordinates; computed in float64, then rounded."""
        X11, X22 = torch.tril(self.X11.double()), torch.tril(self.X22.double())
        X21, C, Dt = self.X21.double(), self.C.double(), self.Dt.double()
        eye = torch.eye(len(C), dtype=C.dtype, device=C.device)
        loss = math.exp(self.epsilon) * eye
        gamma, alpha = self._gamma(), self.alpha.double()
        Z = X21 @ X21.T + X22 @ X22.T + Dt.T @ Dt + loss
        share = torch.sigmoid(alpha).clamp_min(_SMALLEST_SHARE) * _BELOW_ONE
        share = share / _norm_bound(Z, self.norm)
        beta = gamma**2 * share
        H11 = X11 @ X11.T + C.T @ C
        H12 = torch.sqrt(beta) * (X11 @ X21.T + C.T @ Dt)
        # -V = gamma^2 (I - sigmoid(alpha) Z / ||Z||) > 0
        V_root = gamma * cholesky(eye - share * Z)
        M = torch.linalg.solve_triangular(V_root, H12.T, upper=False)
        L = cholesky(_raised(H11 + M.T @ M, beta * math.exp(self.epsilon)))
        Q, scale = cayley(self.Y.double()), torch.sqrt(gamma)
        if self.published_Q:
            Q = Q @ _orthogonal_factor(M).T
        system = DiscreteDense(
            A=(Q @ _right_divide(M, L))[None],
            B=(-Q @ V_root.T / scale)[None],
            C=(scale * _right_divide(C, L))[None],
            D=(torch.sqrt(beta) * Dt)[None],
        )
        return _rounded(system, self.C.dtype)


#: Keeps V well conditioned where sigmoid(alpha) is next to 1.
_BELOW_ONE = 1 - 1e-9


#: Squarings for ||Z||_2, then known to 1e-12: the distance of the slowest pole from the unit circle
#: follows from a small difference to this norm.
_SQUARINGS = 42


#: gamma is kept between e^-80 and e^80: float32 holds B, C and D there.
_LARGEST_LOG_GAMMA = 80.0
#: sigmoid(alpha) is at least this: D = 0 has no gradient.
_SMALLEST_SHARE = 1e-30
#: Of the trace of P, what its loss is at least, so that it has a Cholesky factor after rounding.
_SMALLEST_LOSS = 1e-12


def _raised(P: Float[Tensor, "N N"], loss: Float[Tensor, ""]) -> Float[Tensor, "N N"]:
    """P + loss I, or more: any P + delta I, delta >= 0, proves the same gain."""
    eye = torch.eye(len(P), dtype=P.dtype, device=P.device)
    return P + torch.maximum(loss, _SMALLEST_LOSS * P.trace()) * eye


def _rounded(system: DiscreteDense, dtype: torch.dtype) -> DiscreteDense:
    """The system in the precision of its parameters, still a contraction.

    In these coordinates K = [A, B / sqrt(gamma); C / sqrt(gamma), D / gamma] has ||K||_2 <= 1, and
    rounding adds at most u ||K||_F <= u sqrt(2 N), u the unit roundoff: K is shrunk by as much.
    """
    shrink = 1 - _rounding(system.states, dtype)
    return system.map(lambda matrix: (shrink * matrix).to(dtype))


def _rounding(states: int, dtype: torch.dtype) -> float:
    """Bound on what rounding to ``dtype`` adds to a contraction of 2 N rows, in spectral norm."""
    return torch.finfo(dtype).eps / 2 * math.sqrt(2 * states)


def _orthogonal_factor(M: Float[Tensor, "N N"]) -> Float[Tensor, "N N"]:
    """Q_M of M = Q_M R with the diagonal of R positive, so that R is a Cholesky factor of M'M."""
    Q, R = torch.linalg.qr(M)
    return Q * torch.where(R.diagonal() < 0, -1.0, 1.0).to(Q)


def _right_divide(matrix: Tensor, L: Tensor) -> Tensor:
    """matrix L'^-1 for lower-triangular L."""
    return torch.linalg.solve_triangular(L, matrix.T, upper=False).T


def _norm_bound(Z: Float[Tensor, "N N"], bound: NormBound) -> Float[Tensor, ""]:
    """An upper bound on ||Z||_2 for positive semidefinite Z.

    Where the largest eigenvalue is not simple, as at the initialisation, whose moduli are equal
    within each pair, ||Z||_2 has no derivative; the gradient is then the mean over eigenvectors.
    """
    if bound is NormBound.spectral:
        return largest_eigenvalue(Z, _SQUARINGS)
    if bound is NormBound.frobenius:
        return torch.linalg.matrix_norm(Z)
    return Z.abs().sum(-1).max()


def _check(config: L2RUConfig) -> None:
    require(
        abs(math.log(config.gamma)) <= _LARGEST_LOG_GAMMA,
        f"gamma must be between e^-80 and e^80, got {config.gamma}",
    )
    require(
        0 < config.radius_min <= config.radius < 1,
        f"needs 0 < radius_min <= radius < 1, got radius_min={config.radius_min} "
        f"and radius={config.radius}",
    )
    require(
        0 <= config.max_phase < math.pi,
        "max_phase must be in [0, pi): the Cayley map cannot reach the eigenvalue -1; "
        f"got {config.max_phase}",
    )


def _initial_parameters(config: L2RUConfig, n: int) -> dict[str, Tensor]:
    """Parameters for which A has exactly the requested moduli and angles, for every gamma and n.

    With X11 = a I, X21 = 0, X22 = b I, C = k U, Dt = U diag(d), U orthogonal, everything is
    diagonal but for Q's 2 x 2 rotations, and mode i has modulus rho_i with (derived in this work)

        1 / rho_i^2 - 1 = H11_i / M_i^2 = (z - s Z_i) H11_i / (s k^2 d_i^2) =: tau_i,

    where z is the bound on ||Z|| and s = sigmoid(alpha). Asking H11_i = _SPLIT k^2 for all i, and
    max d_i = 1, gives d, s and k.
    """
    eps = math.exp(config.epsilon)
    radii = _spread_radii(config, n)
    tau = -torch.expm1(2 * torch.log(radii)) / radii**2
    rest = _X22_SCALE**2 + eps
    ratio = tau / _SPLIT
    d = torch.sqrt((1 + ratio.min()) / (1 + ratio))
    z = _norm_bound(torch.diag(d**2 + rest), config.norm)
    headroom = 1 + rest + ratio.min() - z
    _check_reach(config, n, headroom.item(), ratio.min().item())
    share = z / (z + headroom)
    alpha = torch.logit(share / _BELOW_ONE)
    beta = config.gamma**2 * share / z
    k = torch.sqrt(beta * eps / (_SPLIT - 1 - _X11_SHARE**2))
    mixing, _ = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))
    eye = torch.eye(n, dtype=torch.float64)
    return {
        "X11": _X11_SHARE * k * eye,
        "X21": torch.zeros(n, n, dtype=torch.float64),
        "X22": _X22_SCALE * eye,
        "C": k * mixing,
        "Dt": mixing * d,
        "Y": _rotations(config.max_phase, n),
        "alpha": alpha,
    }


def _spread_radii(config: L2RUConfig, n: int) -> Tensor:
    """Moduli (N,), equal within each pair so that rotations keep them; the first is the largest.

    Before the shrinking that makes room for rounding to float32.
    """
    pairs = (n + 1) // 2
    low, high = math.log(1 - config.radius), math.log(1 - config.radius_min)
    gaps = torch.linspace(low, high, pairs, dtype=torch.float64).exp()
    moduli = (1 - gaps) / (1 - _rounding(n, torch.float32))
    return moduli.clamp_max(1 - 1e-9).repeat_interleave(2)[:n]


def _rotations(max_phase: float, n: int) -> Tensor:
    """Y whose Cayley transform rotates each pair by an angle evenly spaced in [0, max_phase].

    Slow modes turn slowly: the pairs are in the order of :func:`_spread_radii`.
    """
    angles = torch.linspace(0, max_phase, n // 2, dtype=torch.float64)
    Y = torch.zeros(n, n, dtype=torch.float64)
    first = 2 * torch.arange(n // 2)
    Y[first, first + 1] = torch.tan(angles / 2)
    return Y


def _check_reach(config: L2RUConfig, n: int, headroom: float, ratio: float) -> None:
    """The Frobenius norm of Z exceeds ||Z||_2, and with it goes the long memory."""
    best = 1 / math.sqrt(1 + _SPLIT * (ratio - headroom))  # at alpha to infinity
    frobenius = config.norm is NormBound.frobenius
    others = "norm=spectral or norm=gershgorin" if frobenius else "a smaller radius"
    require(
        headroom > 0,
        f"norm={config.norm.name} cannot hold a pole at radius={config.radius} with {n} "
        f"states (at most about {best:.9g}); use {others}",
    )
