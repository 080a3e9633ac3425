"""Proofs about one dense system in float64: cheap, and inconclusive where rounding is too large.

Every error bound is the standard one of a product, ||fl(X Y) - X Y|| <= gamma_n |X| |Y| with
gamma_n = n EPS (Higham 2002, Accuracy and Stability of Numerical Algorithms, section 3.5), four
times as large, which covers complex numbers and the rounding of the bounds themselves.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.linalg
import torch

from ssmbench.analysis.interval import UNKNOWN, UNPROVED, Interval, around
from ssmbench.linalg.lyapunov import gramian_factor
from ssmbench.linalg.precision import EPS


def enclose_extent(A: np.ndarray, *, discrete: bool) -> Interval:
    """Spectral radius (discrete time) or abscissa of A (N, N), enclosed.

    With computed eigenvectors V and X near V^-1, V^-1 A V = Lambda + (I - E)^-1 X (A V - V Lambda),
    E = I - X V, and Gershgorin's theorem puts all eigenvalues within the row sums of the second
    term of the computed ones; discs that overlap hold as many as there are of them.
    """
    if not np.isfinite(A).all():
        return UNKNOWN
    try:
        values, V = np.linalg.eig(A)
        X = np.linalg.inv(V)
    except np.linalg.LinAlgError:
        return UNKNOWN
    with np.errstate(all="ignore"):
        radii = _disc_radii(A, values, V, X)
    if not np.isfinite(radii).all():
        return UNKNOWN
    parts = abs(values) if discrete else np.real(values)
    rounding = 4 * EPS * float(abs(values).max())
    together = _component(values, radii, int(parts.argmax()))
    low, high = float((parts - radii)[together].min()), float((parts + radii).max())
    return Interval(around(low, rounding).lower, around(high, rounding).upper)


def _disc_radii(A: np.ndarray, values: np.ndarray, V: np.ndarray, X: np.ndarray) -> np.ndarray:
    gamma = _gamma(len(A))
    residual = abs(A @ V - V * values) + gamma * (abs(A) @ abs(V) + abs(V) * abs(values))
    defects = (abs(np.eye(len(A)) - X @ V) + gamma * (abs(X) @ abs(V))).sum(1) * (1 + gamma)
    if not defects.max() < 0.5:
        return np.full(len(A), math.inf)
    rows = (abs(X) @ residual).sum(1) * (1 + gamma)
    return (rows + defects * rows.max() / (1 - defects.max())) * (1 + gamma)


def _component(values: np.ndarray, radii: np.ndarray, start: int) -> np.ndarray:
    """The connected component (N,) of one disc: it holds as many eigenvalues as it has discs."""
    inside = np.zeros(len(values), dtype=bool)
    inside[start] = True
    while True:
        gaps = abs(values[:, None] - values[inside]) - radii[:, None] - radii[inside]
        reached = (gaps <= 8 * EPS * abs(values).max()).any(1)
        if (reached == inside).all():
            return inside
        inside = inside | reached


def _gamma(n: int) -> float:
    return 4 * (n + 8) * EPS


# --- the gain at one frequency ------------------------------------------------------------------


def gain_reached(
    A: np.ndarray, B: np.ndarray, C: np.ndarray, D: np.ndarray, omega: float, *, discrete: bool
) -> float:
    """A lower bound on sigma_max G at a frequency: ||G v|| for a unit vector v, less all errors."""
    if math.isinf(omega):
        return _norm_reached(D)
    n = len(A)
    point = complex(math.cos(omega), math.sin(omega)) if discrete else 1j * omega
    resolvent = point * np.eye(n) - A
    try:
        factors = scipy.linalg.lu_factor(resolvent, check_finite=False)
        X = scipy.linalg.lu_solve(factors, np.eye(n, dtype=complex), check_finite=False)
    except (np.linalg.LinAlgError, ValueError):
        return 0.0
    G = C @ X @ B + D
    if not np.isfinite(G).all():
        return 0.0
    v = np.linalg.svd(G)[2][0].conj()
    return max(_output_bound(resolvent, X, (B, C, D), v), 0.0)


def _output_bound(
    resolvent: np.ndarray, X: np.ndarray, parts: tuple[np.ndarray, ...], v: np.ndarray
) -> float:
    """||C x + D v|| / ||v|| for the exact x with (resolvent) x = B v, from below.

    The resolvent itself may be off by the rounding of its point: 4 EPS of the diagonal.
    """
    (B, C, D), n = parts, len(X)
    gamma = _gamma(n + len(v))
    shift = 4 * EPS * abs(np.diag(resolvent)).max() + 8 * EPS
    defect = _two_norm(np.eye(n) - X @ resolvent) + gamma * _two_norm(X) * _two_norm(resolvent)
    defect += shift * _two_norm(X)
    if not defect < 0.5:
        return 0.0
    x = X @ (B @ v)
    size = np.linalg.norm(x)
    left = np.linalg.norm(B @ v - resolvent @ x) + shift * size
    left += gamma * (np.linalg.norm(abs(B) @ abs(v)) + _two_norm(resolvent) * size)
    error = _two_norm(C) * _two_norm(X) / (1 - defect) * left
    error += gamma * (_two_norm(C) * size + _two_norm(D) * np.linalg.norm(v))
    reached = (np.linalg.norm(C @ x + D @ v) - error) / np.linalg.norm(v)
    return float(reached) * (1 - gamma) if math.isfinite(reached) else 0.0


def _two_norm(matrix: np.ndarray) -> float:
    return float(np.linalg.norm(matrix))


def _norm_reached(D: np.ndarray) -> float:
    v = np.linalg.svd(D)[2][0].conj()
    error = _gamma(D.shape[1]) * _two_norm(D)
    return max(float(np.linalg.norm(D @ v) / np.linalg.norm(v)) - error, 0.0)


# --- H2 norm ------------------------------------------------------------------------------------


def enclose_energy(A: np.ndarray, B: np.ndarray, C: np.ndarray, *, discrete: bool) -> Interval:
    """trace(C X C^H) of the controllability Gramian X of a stable system, enclosed.

    With X computed and R its residual in the Stein or Lyapunov equation, the error lies between
    -||R|| Y and ||R|| Y, where Y is the Gramian of an input to every state, bounded likewise.
    """
    L = _factor(A, B, discrete)
    X, energy = L @ L.conj().T, float(np.linalg.norm(C @ L) ** 2)
    whole = _factor(A, np.eye(len(A), dtype=A.dtype), discrete)
    Y = whole @ whole.conj().T
    spread = _residual(A, Y, np.eye(len(A)), discrete)
    if not spread < 0.5:
        return UNPROVED
    reach = float(np.linalg.norm(C @ whole) ** 2) / (1 - spread)
    error = _residual(A, X, B @ B.conj().T, discrete) * reach
    error += _gamma(len(A)) * (energy + float(np.linalg.norm(abs(C) @ abs(L)) ** 2))
    found = around(energy, error)
    return Interval(max(found.lower, 0.0), found.upper) if math.isfinite(error) else UNPROVED


def _factor(A: np.ndarray, B: np.ndarray, discrete: bool) -> np.ndarray:
    dtype = np.result_type(A, B)
    given = (torch.from_numpy(x.astype(dtype))[None] for x in (A, B))
    return gramian_factor(*given, discrete=discrete)[0].resolve_conj().numpy()


def _residual(A: np.ndarray, X: np.ndarray, Q: np.ndarray, discrete: bool) -> float:
    """The norm of A X A^H - X + Q, or A X + X A^H + Q, with its own rounding."""
    adjoint, gamma = A.conj().T, _gamma(2 * len(A))
    if discrete:
        residual = A @ X @ adjoint - X + Q
        sizes = abs(A) @ abs(X) @ abs(adjoint) + abs(X) + abs(Q)
    else:
        residual = A @ X + X @ adjoint + Q
        sizes = abs(A) @ abs(X) + abs(X) @ abs(adjoint) + abs(Q)
    return _two_norm(residual) + gamma * _two_norm(sizes)
