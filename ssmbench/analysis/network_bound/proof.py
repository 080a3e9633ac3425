"""The proof of a bound for given multipliers, with every rounding error counted.

In coordinates in which the multipliers are 1, W (n, k) is what the remainders read at one frequency
and Z the prediction, both known up to errors of proved norm. Then

``B = I - W^H W >= b I`` with any X proves
``Z B^-1 Z^H <= X^H Z^H + Z X - X^H B X + (||R||^2 / b) I``, R = Z^H - B X, at every frequency. The
root of the largest eigenvalue of the right sides is a gain of predictions per step. Their weighted
sum S over all frequencies proves ``|e' dp|^2 <= e' S e |du|^2`` for a sum p over the steps: its
gain is the root of the largest eigenvalue of S.

Definiteness is proved by :func:`~.enclosed.is_positive`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ssmbench.analysis.network_bound.enclosed import OUTWARD, gamma, is_positive
from ssmbench.linalg.precision import EPS

#: By how much the largest eigenvalue that is computed is raised, one after another, relatively.
_RAISED = (1e-9, 1e-7, 1e-5, 1e-3)
#: Shares of the least eigenvalue of B that are tried as what is proved of it.
_LEAST = (0.5, 0.1)


@dataclass(frozen=True)
class ScaledSpectra:
    """W (F, n, k) and Z (F, K, c), c >= k, with bounds on the Frobenius norms of their errors at
    any frequency; W is zero in the columns after k."""

    W: np.ndarray
    W_error: float
    Z: np.ndarray
    Z_error: float


def prove_steps(spectra: ScaledSpectra) -> float:
    """A proved gain of predictions per step; infinite if no proof succeeds."""
    bounded = _bounded_gains(spectra)
    if bounded is None:
        return math.inf
    values, errors = bounded
    largest = float((np.linalg.eigvalsh(values)[:, -1] + errors).max())
    if not 0 <= largest < math.inf:
        return math.inf
    identity = np.eye(values.shape[1])
    for raised in _RAISED:
        square = largest * (1 + raised) + 1e-300
        if is_positive((square - errors * OUTWARD)[:, None, None] * identity - values):
            return math.sqrt(square) * (1 + 4 * EPS)
    return math.inf


def prove_sums(spectra: ScaledSpectra, shares: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The matrix S (K, K), rounded upward, for each of some weights (F,) that are rounded upward;
    an empty list if no proof succeeds."""
    bounded = _bounded_gains(spectra)
    return [] if bounded is None else [_weighted_sum(*bounded, weights) for weights in shares]


def _weighted_sum(values: np.ndarray, errors: np.ndarray, shares: np.ndarray) -> np.ndarray:
    S = np.einsum("f,fij->ij", shares, np.real(values))
    S = (S + S.T) / 2
    sizes = np.linalg.norm(values.reshape(len(values), -1), axis=1)
    raised = float((shares * errors).sum()) + gamma(len(shares)) * float((shares * sizes).sum())
    return S + raised * OUTWARD * np.eye(len(S))


def _bounded_gains(spectra: ScaledSpectra) -> tuple[np.ndarray, np.ndarray] | None:
    """Hermitian matrices (F, K, K) and errors (F,): Z B^-1 Z^H is at most their sum with the error
    times the identity."""
    W, Z = spectra.W, spectra.Z
    k = W.shape[2]
    core, last = Z[..., :k], Z[..., k:]
    least = least_eigenvalue(spectra)
    if least is None:
        return None
    B = np.eye(k) - _adjoint(W) @ W
    X = np.linalg.solve(B, _adjoint(core))
    WX = W @ X
    half = core @ X
    values = half + _adjoint(half) - _adjoint(X) @ X + _adjoint(WX) @ WX + last @ _adjoint(last)
    residual = _adjoint(core) - X + _adjoint(W) @ WX
    nW, nZ, nX, nWX, nR = map(_norms, (W, Z, X, WX, residual))
    eW, eZ, unit = spectra.W_error, spectra.Z_error, gamma(sum(Z.shape[1:]) + sum(W.shape[1:]))
    # what W and Z may be off by, then the rounding of each product
    off = 2 * eZ * nX + 2 * eW * nX * nWX + (eW * nX) ** 2 + 2 * eZ * nZ + eZ**2
    off = off + unit * (2 * nZ * nX + nX**2 + nWX**2 + 2 * nWX * nW * nX + nZ**2)
    off = off + 2 * (unit * nW * nX) ** 2
    missed = nR + eZ + 2 * eW * nW * nX + eW**2 * nX + unit * (nZ + nX + nW * nWX + nW**2 * nX)
    errors = (off + missed**2 / least) * OUTWARD
    return (values + _adjoint(values)) / 2, errors


def least_eigenvalue(spectra: ScaledSpectra) -> float | None:
    """A proved positive lower bound on the eigenvalues of B at all frequencies; None if there is
    none."""
    W, k = spectra.W, spectra.W.shape[2]
    B = np.eye(k) - _adjoint(W) @ W
    computed = float(np.linalg.eigvalsh(B).min())
    if not computed > 0:
        return None
    squares = (abs(W) ** 2).sum((1, 2)) * OUTWARD
    error = spectra.W_error
    lost = (2 * error + error**2 + (gamma(W.shape[1]) + 8 * EPS) * (1 + squares)) * OUTWARD
    for share in _LEAST:
        shift = share * computed + lost
        if is_positive(B - shift[:, None, None] * np.eye(k)):
            return share * computed * (1 - 1e-9)
    return None


def largest_eigenvalue(S: np.ndarray) -> float:
    """A proved upper bound on the eigenvalues of a real symmetric matrix; infinite if there is no
    proof."""
    if not np.isfinite(S).all():
        return math.inf
    computed = max(float(np.linalg.eigvalsh(S).max()), 0.0)
    for raised in _RAISED:
        bound = computed * (1 + raised) + 1e-300
        if is_positive(bound * np.eye(len(S)) - S):
            return bound * (1 + 4 * EPS)
    return math.inf


def _norms(matrices: np.ndarray) -> np.ndarray:
    """Frobenius norms (F,), rounded upward."""
    return np.linalg.norm(matrices.reshape(len(matrices), -1), axis=1) * OUTWARD


def _adjoint(matrices: np.ndarray) -> np.ndarray:
    return matrices.conj().swapaxes(-1, -2)
