"""The level-set method: the exact peak frequency of one linear system.

Bruinsma & Steinbuch (1990), Syst. Control Lett. 14:287: the gain equals a level exactly at the
eigenvalues, on the stability boundary, of a pencil made from the system and its adjoint. Climb to a
local maximum, test the level just above it, and climb again from any frequency that lies higher.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.optimize

from ssmbench.linalg.singular_values import sigma_max_of_arrays

# The test proves that no frequency exceeds the peak found by more than this, relatively.
TOLERANCE = 2e-9

#: The gain of one system, at frequencies (W,) -> (W,).
GainCurve = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Plant:
    """One head in numpy: matrices for the pencil, and its gain at frequencies (W,) -> (W,)."""

    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    D: np.ndarray
    discrete: bool
    real: bool
    gain: GainCurve

    @property
    def static_gain(self) -> float:
        """sigma_max D, the gain at infinite frequency of a continuous system."""
        return float(np.linalg.norm(self.D, 2))


def peak_frequency(plant: Plant) -> float:
    """Peak frequency of one head: climb to a local maximum, test the level just above, repeat."""
    if not plant.B.any() or not plant.C.any():
        return 0.0 if plant.discrete else math.inf
    omega, gain = _evaluate(plant, _first_frequencies(plant))
    best, peak = _climb(plant, omega, gain)
    # Each round reaches a higher local maximum, of which there are finitely many.
    while 0 < peak < math.inf:
        omega, gain = _evaluate(plant, _with_midpoints(_crossings(plant, peak), plant))
        if gain.max() <= peak * (1 + TOLERANCE):
            return float(omega[gain.argmax()]) if gain.max() > peak else best
        best, peak = _climb(plant, omega, gain)
    return best


def _first_frequencies(plant: Plant) -> np.ndarray:
    """Pole frequencies, where resonances peak, and the ends of the axis."""
    poles = np.linalg.eigvals(plant.A)
    if plant.discrete:
        return np.concatenate([np.angle(poles), [0.0, np.pi]])
    return np.concatenate([poles.imag, np.abs(poles), [0.0]])


def _evaluate(plant: Plant, omega: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies, folded, sorted and distinct, and the gain at each; infinity where it exists."""
    omega = np.unique(np.abs(omega) if plant.real else omega)
    gain = np.nan_to_num(plant.gain(omega), nan=0.0)
    if plant.discrete:
        return omega, gain
    return np.append(omega, math.inf), np.append(gain, plant.static_gain)


def _climb(plant: Plant, omega: np.ndarray, gain: np.ndarray) -> tuple[float, float]:
    """The local maximum next to the best frequency: (omega, gain)."""
    index = int(gain.argmax())
    best, peak = float(omega[index]), float(gain[index])
    if math.isinf(best):
        return best, peak
    low = omega[index - 1] if index else best
    high = omega[index + 1] if index + 1 < len(omega) else best
    # A bracket without an end: as far again on the other side.
    high = high if math.isfinite(high) else best + max(best - low, abs(best), 1e-3)
    span = float(max(high - best, best - low))
    if span == 0:
        return best, peak
    # In units of the bracket, since the optimiser stops at sqrt(eps) relative to its variable.
    found = scipy.optimize.minimize_scalar(
        lambda x: -float(plant.gain(np.array([best + span * x]))[0]),
        bounds=((low - best) / span, (high - best) / span),
        method="bounded",
        options={"xatol": 1e-10, "maxiter": 60},
    )
    return (best + span * float(found.x), -float(found.fun)) if -found.fun > peak else (best, peak)


def _with_midpoints(omega: np.ndarray, plant: Plant) -> np.ndarray:
    """Frequencies and the middles of the arcs between them: some middle lies above the level."""
    omega = np.unique(np.abs(omega) if plant.real else omega)
    if plant.real:
        omega = np.append(0.0, omega)
    if plant.discrete:
        omega = np.append(omega, np.pi)
    return np.concatenate([omega, (omega[1:] + omega[:-1]) / 2, [0.0]])


def _crossings(plant: Plant, peak: float) -> np.ndarray:
    """Frequencies of all eigenvalues of the pencil at the level peak (1 + 2 TOLERANCE).

    The gain crosses the level exactly at eigenvalues on the stability boundary. Those that rounding
    has moved off it are indistinguishable from neighbours, so all are returned: evaluating a gain
    too many costs little, missing a crossing would cost the proof.
    """
    root = math.sqrt(peak)
    B, C, D = plant.B / root, plant.C / root, plant.D / peak
    M, L = _pencil(plant.A, B, C, D, 1 + 2 * TOLERANCE, plant.discrete)
    order = 2 * len(plant.A)
    if not plant.discrete and plant.static_gain < 0.99 * peak:
        feedthrough = np.linalg.solve(M[order:, order:], M[order:, :order])
        return np.linalg.eigvals(M[:order, :order] - M[:order, order:] @ feedthrough).imag
    shift, factors = _best_shift(plant, M, L)
    start = np.eye(len(M), order, dtype=factors[0].dtype)
    inverse = L[:order] @ scipy.linalg.lu_solve(factors, start, check_finite=False)
    eigenvalues = np.linalg.eigvals(inverse)  # 1 / (z - shift)
    points = shift + 1 / eigenvalues[eigenvalues != 0]
    return np.angle(points) if plant.discrete else points.imag[np.isfinite(points.imag)]


def _pencil(
    A: np.ndarray, B: np.ndarray, C: np.ndarray, D: np.ndarray, level: float, discrete: bool
) -> tuple[np.ndarray, np.ndarray]:
    """M - z L over (x, adjoint x, u, y), singular where level is a singular value of G(z).

    The usual symplectic or Hamiltonian matrix is its Schur complement; keeping u and y avoids the
    inverse of level^2 I - D'D, which is near singular for all-pass systems.
    """
    n, m, p = len(A), B.shape[1], C.shape[0]
    rows = np.cumsum([n, n, m, p])[:-1]
    M = np.zeros((2 * n + m + p, 2 * n + m + p), dtype=np.result_type(A, B, C, D))
    L = np.zeros_like(M)
    x, q, u, y = np.split(np.arange(len(M)), rows)
    outputs, inputs = np.arange(2 * n, 2 * n + p), np.arange(2 * n + p, len(M))
    M[np.ix_(x, x)], M[np.ix_(x, u)], L[x, x] = A, B, 1
    if discrete:
        M[q, q], L[np.ix_(q, q)], L[np.ix_(q, y)] = 1, A.conj().T, C.conj().T
    else:
        M[np.ix_(q, q)], M[np.ix_(q, y)], L[q, q] = -A.conj().T, -C.conj().T, 1
    M[np.ix_(outputs, x)], M[np.ix_(outputs, u)], M[outputs, y] = C, D, -level
    M[np.ix_(inputs, q)], M[np.ix_(inputs, y)], M[inputs, u] = B.conj().T, D.conj().T, -level
    return M, L


def _best_shift(plant: Plant, M: np.ndarray, L: np.ndarray) -> tuple[complex | float, tuple]:
    """A boundary point far from every eigenvalue, with the factors of M - shift L.

    Inverting there turns the pencil into a standard eigenvalue problem, ten times faster than QZ.
    """
    if plant.discrete:
        shifts = [-1.0, 1.0, *np.exp(1j * np.array([1.9, 0.8, 2.6, -1.3]))]
    else:
        scale = np.linalg.norm(plant.A, 2)
        shifts = [0.0, *(1j * scale * np.array([1.0, 0.1, 10.0, -0.4]))]
    best: tuple[float, complex | float, tuple] = (-math.inf, shifts[0], ())
    for shift in shifts:
        shifted = M - shift * L
        factors = scipy.linalg.lu_factor(shifted, check_finite=False)
        (gecon,) = scipy.linalg.get_lapack_funcs(("gecon",), (shifted,))
        rcond, _ = gecon(factors[0], np.linalg.norm(shifted, 1))
        if rcond > best[0]:
            best = (float(rcond), shift, factors)
        if rcond > 1e-6:
            break
    return best[1], best[2]


# --- helpers that build a plant ----------------------------------------------------------


def schur_gain(
    A: np.ndarray, B: np.ndarray, C: np.ndarray, D: np.ndarray, discrete: bool
) -> GainCurve:
    """Gain by one Schur form of A, then a triangular solve a frequency: O(N^2 m) each."""
    T, Q, *_ = scipy.linalg.schur(A.astype(complex), output="complex")
    B, C = Q.conj().T @ B, C @ Q
    diagonal = np.diag_indices_from(T)
    (solve,) = scipy.linalg.get_lapack_funcs(("trtrs",), (T, B))

    def response(omega: float) -> np.ndarray:
        resolvent = -T
        resolvent[diagonal] += np.exp(1j * omega) if discrete else 1j * omega
        state, _ = solve(resolvent, B)
        return C @ state + D

    return lambda omega: sigma_max_of_arrays(np.stack([response(w) for w in omega]))
