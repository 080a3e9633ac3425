"""The least average supply of a diagonal discrete system, enclosed in float64, for many modes.

Over a cell of frequencies around c, G differs from its tangent G(c) + (w - c) G'(c) by at most half
the square of the cell's radius times a bound on G''. Where Q <= 0 the least eigenvalue of
G^H Q G + G^H S + S^H G + R is concave in G, and so least at an end of the tangent. Cells whose
lower bound is below the level are halved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ssmbench.analysis.ball.average_supply import Supply
from ssmbench.analysis.ball.supply import Least
from ssmbench.analysis.interval import Interval
from ssmbench.analysis.stability import array
from ssmbench.linalg.precision import EPS
from ssmbench.systems import DiscreteDiagonal

#: How far below the least value the proved level is, relatively, and relative to the largest supply
#: where the least is about zero.
_SHARE, _SHARE_OF_LARGEST = 1e-4, 1e-7
_START, _ROUNDS, _MOST_CELLS = 128, 60, 30_000


@dataclass(frozen=True)
class _Modes:
    """G(z) = D + sum_n R_n / (z - lam_n), with conjugates written out."""

    lam: np.ndarray
    R: np.ndarray
    D: np.ndarray
    supply: Supply

    @staticmethod
    def of(system: DiscreteDiagonal, supply: Supply) -> _Modes:
        lam, B, C = (array(x).astype(complex) for x in (system.lam, system.B, system.C))
        R = C.T[:, :, None] * B[:, None, :]
        if system.conjugate:
            lam, R = np.concatenate([lam, lam.conj()]), np.concatenate([R, R.conj()])
        return _Modes(lam, R, array(system.D), supply)


def is_concave(supply: Supply) -> bool:
    """Whether Q is diagonal with no positive entry, so that Q <= 0; others are not looked into."""
    diagonal = np.diag(np.diag(supply.Q))
    return bool((diagonal == supply.Q).all() and (np.diag(supply.Q) <= 0).all())


@np.errstate(all="ignore")
def least_of_modes(
    system: DiscreteDiagonal, supply: Supply, low: float, high: float
) -> Least | None:
    """As :func:`ssmbench.analysis.ball.supply.least_supply`, for one system (H = 1) in double
    precision and a supply rate that :func:`is_concave`; None where cells run out."""
    modes = _Modes.of(system, supply)
    bands = [(low, high)] if system.is_real() else [(low, high), (-high, -low)]
    edges = [np.linspace(*band, _START + 1) for band in bands]
    start, end = (np.concatenate([e[s] for e in edges]) for s in (slice(-1), slice(1, None)))
    best, omega, largest = math.inf, low, 0.0
    for _ in range(_ROUNDS):
        lower, upper, size = _cells(modes, (start + end) / 2, (end - start) / 2)
        index = int(np.nanargmin(np.where(np.isfinite(upper), upper, np.inf)))
        largest = max(largest, float(size[index]))
        if upper[index] < best:
            best, omega = float(upper[index]), float((start + end)[index] / 2)
        level = best - max(_SHARE * abs(best), _SHARE_OF_LARGEST * largest)
        open_ = ~(lower >= level)
        if not open_.any():
            omega = abs(omega) if system.is_real() else omega
            return Least(Interval(level, best), omega)
        if 2 * open_.sum() > _MOST_CELLS / max(modes.R[0].size, 1) ** 0.5:
            return None
        start, end = start[open_], end[open_]
        middle = (start + end) / 2
        start, end = np.concatenate([start, middle]), np.concatenate([middle, end])
    return None


def _cells(
    modes: _Modes, centre: np.ndarray, radius: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each cell a lower bound on the least eigenvalue, an upper bound on it at the centre, and
    the size of the terms."""
    radius = radius * (1 + 8 * EPS) + 4 * EPS * (1 + abs(centre))  # what rounding leaves out
    z = np.exp(1j * centre)
    away = z[:, None] - modes.lam
    near = abs(away) - radius[:, None] - 8 * EPS
    sizes = np.linalg.norm(modes.R, axis=(1, 2))
    G = modes.D + np.einsum("cn,npm->cpm", 1 / away, modes.R)
    slope = np.einsum("cn,npm->cpm", -1j * z[:, None] / away**2, modes.R)
    curve = np.where(near > 0, 1 / near**2 + 2 / near**3, np.inf) @ sizes
    gamma = 8 * (len(modes.lam) + 16) * EPS
    rounding = gamma * (np.linalg.norm(modes.D) + (1 / abs(away) + 1 / abs(away) ** 2) @ sizes)
    left_out = radius**2 / 2 * curve + rounding * (1 + radius * (1 / abs(away)).max(1))
    ends = [_least(modes.supply, G + sign * radius[:, None, None] * slope) for sign in (-1, 1)]
    lower = np.minimum(*(least - error for least, error, _ in ends))
    g = np.maximum(*(size for _, _, size in ends))
    lower = lower - _moved(modes.supply, g, left_out)
    least, error, size = _least(modes.supply, G)
    return lower, least + error + _moved(modes.supply, size, rounding), size


def _least(supply: Supply, G: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The least eigenvalues for matrices G (cells, p, m), their errors, and the norms of G."""
    H = G.conj().swapaxes(1, 2)
    Pi = H @ supply.Q @ G + H @ supply.S + supply.S.conj().T @ G + supply.R
    Pi = (Pi + Pi.conj().swapaxes(1, 2)) / 2
    finite = np.asarray(np.isfinite(Pi).reshape(len(Pi), -1).all(1))
    least = np.linalg.eigvalsh(np.where(finite[:, None, None], Pi, 0))[:, 0]
    size = np.linalg.norm(G, axis=(1, 2))
    Q, S, R = (float(np.linalg.norm(part)) for part in (supply.Q, supply.S, supply.R))
    error = 16 * (sum(G.shape[1:]) + 8) * EPS * (Q * size**2 + 2 * S * size + R)
    return np.where(finite, least, np.nan), error, size


def _moved(supply: Supply, size: np.ndarray, by: np.ndarray) -> np.ndarray:
    """How far an error in G, of norm ``size``, may move an eigenvalue."""
    Q, S = float(np.linalg.norm(supply.Q, 2)), float(np.linalg.norm(supply.S, 2))
    return (Q * (2 * size * by + by**2) + 2 * S * by) * (1 + 1e-12)
