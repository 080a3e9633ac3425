"""HiPPO: matrices (A, B) whose state remembers the input as coefficients of a basis.

The state of ``x' = A x + B f(t)`` is ``x_n(t) = integral of f(t - age(s)) phi_n(s) w(s) ds``: the
coefficients of the past in functions phi_n that are orthonormal under a measure w. Everything here
is written in the *normalised age* s, which is 0 at the present:

========  ========================================  =======================================
measure   normalised age s of a sample              basis, orthonormal under the density w
========  ========================================  =======================================
``legs``  age / t, all of the past, equally         sqrt(2n+1) P_n(1 - 2s), w = 1 on [0, 1]
``legt``  age / window, a sliding window            the same
``fout``  age / window, a sliding window            1, sqrt2 cos 2 pi n s, sqrt2 sin 2 pi n s
``lagt``  age / window, fading, no end              L_n(s), w = e^(-s) on [0, inf)
========  ========================================  =======================================

Sources: Gu, Dao, Ermon, Rudra, Re 2020, HiPPO, arXiv 2008.07669 (LegT and LagT: Theorem 1; LegS:
Theorem 2; derivations: appendix D); FouT and LegS as a time-invariant system: Gu, Johnson,
Timalsina, Rudra, Re 2022, How to Train Your HiPPO, arXiv 2206.12037; normal plus low rank: Gu,
Goel, Re 2022, S4, arXiv 2111.00396, Theorem 1 and appendix C. A here is the system matrix itself,
stable; the first paper writes ``c' = -A c + B f``. LegT is in the orthonormal scale;
:func:`legt_lmu` has the first paper's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import numpy as np
from jaxtyping import Complex128, Float64

from ssmbench.errors import require

Vector = Float64[np.ndarray, " N"]
Matrix = Float64[np.ndarray, "N N"]
Pair = tuple[Matrix, Vector]


class Measure(Enum):
    """Which part of the past counts, and in which basis."""

    legs = "legs"
    legt = "legt"
    lagt = "lagt"
    fout = "fout"


# --- matrices -----------------------------------------------------------------------------------


def matrices(measure: Measure, n: int, window: float = 1.0) -> Pair:
    """A (n, n) and B (n,), float64, in 1 / time unit; ``window`` in time units.

    For ``legs`` it is the time scale of the time-invariant form that S4 and LSSL use, whose state
    has s = 1 - exp(-age / window); the original is ``x' = (A x + B f) / t``, A and B for window 1.

    Raises:
        UsageError: n or window is not positive, or n is even for ``fout``.
    """
    require(n > 0, f"HiPPO: needs a positive number of states, got {n}")
    require(window > 0, f"HiPPO: the window must be positive, got {window}")
    require(
        measure is not Measure.fout or n % 2 == 1,
        "HiPPO: init=fout is a constant and pairs of cosine and sine, so it needs an odd number "
        f"of states, got {n}",
    )
    A, B = _FAMILIES[measure].matrices(n)
    return A / window, B / window


def _legs(n: int) -> Pair:
    root = _legendre_norms(n)
    A = -np.tril(np.outer(root, root), -1) - np.diag(np.arange(n) + 1.0)
    return A, root


def _legt(n: int) -> Pair:
    root = _legendre_norms(n)
    alternating = np.outer(_signs(n), _signs(n))
    A = -np.outer(root, root) * np.where(np.tri(n, dtype=bool), 1, alternating)
    return A, root


def _lagt(n: int) -> Pair:
    return -np.tri(n), np.ones(n)


def _fout(n: int) -> Pair:
    # f(t - window) is not known: at the jump, the series gives the mean of f(t) and f(t - window),
    # and 2 series(0) - f(t) stands for it, which doubles B and the rank-one term.
    now = _fourier(np.zeros(1), n)[0]
    frequency = np.repeat(2 * np.pi * np.arange(1, n // 2 + 1), 2)
    frequency[1::2] = 0  # between a cosine and the sine after it
    coupling = np.diag(np.append(0, frequency)[: n - 1], 1) if n > 1 else np.zeros((1, 1))
    return coupling.T - coupling - 2 * np.outer(now, now), 2 * now


def legt_lmu(n: int, window: float = 1.0) -> Pair:
    """LegT in the scale of Legendre memory units: the first paper's Theorem 1.

    The coefficients are ``sqrt(2n+1) (-1)^n`` times the orthonormal ones.
    """
    A, B = matrices(Measure.legt, n, window)
    scale = _legendre_norms(n) * _signs(n)
    return A * np.outer(scale, 1 / scale), B * scale


def _legendre_norms(n: int) -> Vector:
    return np.sqrt(2.0 * np.arange(n) + 1)


def _signs(n: int) -> Vector:
    return (-1.0) ** np.arange(n)


# --- measures and bases -------------------------------------------------------------------------


def basis(measure: Measure, n: int, s: Float64[np.ndarray, " S"]) -> Float64[np.ndarray, "S n"]:
    """phi_0(s) .. phi_{n-1}(s) at normalised ages s (S,)."""
    return _FAMILIES[measure].basis(s, n)


def density(measure: Measure, s: Float64[np.ndarray, " S"]) -> Float64[np.ndarray, " S"]:
    """w(s): how much the normalised age s counts; integrates to 1."""
    if measure is Measure.lagt:
        return np.where(s >= 0, np.exp(-s), 0.0)
    return np.where((s >= 0) & (s <= 1), 1.0, 0.0)


def _legendre(s: np.ndarray, n: int) -> np.ndarray:
    return np.polynomial.legendre.legvander(1 - 2 * s, n - 1) * _legendre_norms(n)


def _laguerre(s: np.ndarray, n: int) -> np.ndarray:
    return np.polynomial.laguerre.lagvander(s, n - 1)


def _fourier(s: np.ndarray, n: int) -> np.ndarray:
    angle = 2 * np.pi * s[:, None] * np.arange(1, n // 2 + 1)
    pairs = np.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)], -1)
    return np.concatenate([np.ones((len(s), 1)), pairs.reshape(len(s), -1)], 1)


# --- normal plus low rank -----------------------------------------------------------------------


@dataclass(frozen=True)
class NormalPlusLowRank:
    """``A = V (diag(lam) - P Q*) V*`` and ``B = V (V* B)``, V unitary; here Q = P.

    lam (N,) sorted by imaginary part, V (N, N), P (N, r) and B (N,) in the basis of V.
    """

    lam: Complex128[np.ndarray, " N"]
    V: Complex128[np.ndarray, "N N"]
    P: Complex128[np.ndarray, "N r"]
    B: Complex128[np.ndarray, " N"]


def rank(measure: Measure) -> int:
    """r, the rank that takes the matrix of this measure to a normal one."""
    return _FAMILIES[measure].low_rank(1).shape[1]


@lru_cache(maxsize=32)
def normal_plus_low_rank(measure: Measure, n: int) -> NormalPlusLowRank:
    """The decomposition of :func:`matrices` for window 1.

    It exists for all four measures: A + A' is -2 P P' plus a multiple of the identity, where the
    columns of P are the basis at the ends of the window, scaled.

    Raises:
        UsageError: as :func:`matrices`.
    """
    A, B = matrices(measure, n)
    P = _FAMILIES[measure].low_rank(n)
    normal = A + P @ P.T
    decay = np.trace(normal) / n
    skew = (normal - normal.T) / 2
    omega, V = np.linalg.eigh(-1j * skew)  # Hermitian: exact real parts, and a unitary V
    return NormalPlusLowRank(decay + 1j * omega, V, V.conj().T @ P, V.conj().T @ B)


@dataclass(frozen=True)
class _Family:
    """All that differs between measures."""

    matrices: Callable[[int], Pair]
    basis: Callable[[np.ndarray, int], np.ndarray]
    low_rank: Callable[[int], np.ndarray]


_FAMILIES = {
    Measure.legs: _Family(_legs, _legendre, lambda n: _legendre_norms(n)[:, None] / np.sqrt(2)),
    Measure.legt: _Family(
        _legt,
        _legendre,
        lambda n: _legendre_norms(n)[:, None] * np.stack([np.ones(n), _signs(n)], 1) / np.sqrt(2),
    ),
    Measure.lagt: _Family(_lagt, _laguerre, lambda n: np.full((n, 1), np.sqrt(0.5))),
    Measure.fout: _Family(
        _fout, _fourier, lambda n: np.sqrt(2) * _fourier(np.zeros(1), n).reshape(-1, 1)
    ),
}


# --- function approximation ---------------------------------------------------------------------


@dataclass(frozen=True)
class Memory:
    """A HiPPO system with n states as what it is: an online approximation of its input's past.

    ``window`` is in time units; None is the original LegS, whose window is all of the past.

    Raises:
        UsageError: another measure than ``legs`` without a window.
    """

    measure: Measure
    n: int
    window: float | None = 1.0

    def __post_init__(self) -> None:
        require(
            self.window is not None or self.measure is Measure.legs,
            f"HiPPO: {self.measure.name} needs a window; only legs remembers all of the past",
        )

    def project(self, samples: Float64[np.ndarray, " K"], dt: float) -> Vector:
        """The state (n,) after samples f(0), f(dt), .. f((K-1) dt), by the ODE, step by step.

        Implicit midpoint steps, error O(dt^2): each one is a contraction, whatever the step. The
        past before t = 0 counts as zero for a window.
        """
        A, B = matrices(self.measure, self.n, self.window or 1.0)
        middles = (samples[1:] + samples[:-1]) / 2
        if self.window is not None:
            A_bar, B_bar = _midpoint_step(A, B, dt)
            x = np.zeros(self.n)
            for f in middles:
                x = A_bar @ x + B_bar * f
            return x
        x = samples[0] * np.eye(self.n)[0]  # a past of no length is a constant
        for k, f in enumerate(middles):
            A_bar, B_bar = _midpoint_step(A, B, 1 / (k + 0.5))  # dt / t at mid-step
            x = A_bar @ x + B_bar * f
        return x

    def reconstruct(
        self, state: Vector, age: Float64[np.ndarray, " S"], elapsed: float
    ) -> Float64[np.ndarray, " S"]:
        """The past that a state stands for, at ages (S,) before the present, in time units.

        ``elapsed`` is the present time; only the window None looks at it.
        """
        return basis(self.measure, self.n, self._normalised(age, elapsed)) @ state

    def _normalised(self, age: np.ndarray, elapsed: float) -> np.ndarray:
        if self.window is None:
            return age / elapsed
        warped = self.measure is Measure.legs
        return -np.expm1(-age / self.window) if warped else age / self.window


def _midpoint_step(A: np.ndarray, B: np.ndarray, h: float) -> tuple[np.ndarray, np.ndarray]:
    eye = np.eye(len(A))
    both = np.linalg.solve(eye - h / 2 * A, np.column_stack([eye + h / 2 * A, h * B]))
    return both[:, :-1], both[:, -1]
