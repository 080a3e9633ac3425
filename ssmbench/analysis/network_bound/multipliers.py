"""The multipliers: an interior-point method for the bound as a semidefinite program.

At each frequency the remainders read ``y = Y q`` and the prediction is ``Z q``, q = (u, v). With
``B(T) = diag(I, T) - sum_i r_i^2 T_i y_i^H y_i``, which is linear in the multipliers T, the square
g of a gain is proved where ``B > 0`` and ``g I - S > 0``: S is ``Z B^-1 Z^H`` at each frequency for
a prediction per step, or the weighted sum of these for a sum over the steps. Both are convex in
(T, g), by Schur's complement linear matrix inequalities.

What is minimised, for growing ``pull``, is ``pull log g - mean log det B~ - log det(I - S / g)`` in
the logarithms of T and g, B~ = D^(-1/2) B D^(-1/2) with D = diag(I, T): barriers that do not depend
on the scale of T, which spans orders of magnitude. Newton's method with the eigenvalues of its
Hessian kept positive takes about ten iterations for each pull.

Nothing here is a proof; :mod:`.proof` checks the result.

Source: Boyd and Vandenberghe 2004, Convex Optimization, sections 11.2 and 11.6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

#: The first pull, its growth, and the relative gain of one growth at which the path ends.
_PULL, _GROWTH, _GAIN, _MOST = 5.0, 8.0, 2e-3, 1e7
#: A pull ends at this decrement, this fall of the cost, this of log g, or after so many iterations.
_CENTRED, _FALL, _TRIFLE, _ITERATIONS = 0.3, 0.05, 2e-4, 30
#: Least eigenvalue of the Hessian, largest change of a logarithm in one step, and most halvings.
_LEAST_CURVATURE, _LONGEST, _HALVINGS = 0.05, 2.0, 30
#: Share of the slack of a first-order bound that the starting point takes.
_START = 0.9


@dataclass(frozen=True)
class Problem:
    """Spectra at F frequencies: ``reads`` (F, n, k), what all remainders read times their radii,
    from u and the remainders of all blocks but the last, k = m + n - n_last; ``outputs`` (F, K, m +
    n).

    ``shares`` (F,): the weight of each frequency in the sum, or None for predictions per step.
    ``groups`` (n,): remainders of equal numbers have one multiplier. ``inputs``: m, the channels of
    u.
    """

    reads: np.ndarray
    outputs: np.ndarray
    shares: np.ndarray | None
    groups: np.ndarray
    inputs: int

    @property
    def remainders(self) -> int:
        """The number n of remainders."""
        return self.reads.shape[1]

    def scaled(self, T: np.ndarray) -> Problem:
        """In coordinates in which all multipliers are 1."""
        roots = np.sqrt(T)
        columns = np.concatenate([np.ones(self.inputs), roots])
        reads = roots[:, None] * self.reads / columns[: self.reads.shape[2]]
        return Problem(reads, self.outputs / columns, self.shares, self.groups, self.inputs)

    def work(self) -> float:
        """Multiplications of one iteration of Newton's method."""
        F, n, k = self.reads.shape
        K = self.outputs.shape[1]
        return 4.0 * F * (3 * k * k * k + n * k * k + n * n * k + 3 * n * n * K)


def start(problem: Problem, sizes: list[int]) -> np.ndarray:
    """Multipliers (n,) with B > 0, equal within each block of ``sizes`` remainders.

    Each block is given a part of the identity in B: ``t = 0.9 2^-k / ||y diag(I, T)^(-1/2)||^2``.
    """
    T = np.ones(0)
    for k, size in enumerate(sizes):
        if not size:
            continue
        columns = np.concatenate([np.ones(problem.inputs), 1 / np.sqrt(T)])
        rows = problem.reads[:, len(T) : len(T) + size, : len(columns)] * columns
        norm = float(np.linalg.norm(rows, 2, axis=(1, 2)).max())
        t = _START * 2.0 ** -(k + 1) / norm**2 if norm > 0 else 1.0
        T = np.concatenate([T, np.full(size, t)])
    return T


def optimise(problem: Problem, T: np.ndarray, work: float) -> np.ndarray:
    """Multipliers with a smaller bound, from feasible ones, within so many multiplications."""
    point, left, pull = Point.at(problem, T), int(work / problem.work()), _PULL
    if point is None or not problem.remainders:
        return T
    best = point
    while left > 0 and pull < _MOST:
        before = best.least
        for _ in range(min(left, _ITERATIONS)):
            after, decrement = _newton(point, pull)
            fall, point, left = point.cost(pull) - after.cost(pull), after, left - 1
            best = min(best, point, key=lambda p: p.least)
            if decrement < _CENTRED or fall < _FALL + _TRIFLE * pull:
                break
        if pull > _PULL * _GROWTH and best.least > before * (1 - _GAIN) ** 2:
            break
        pull *= _GROWTH
    return best.T


@dataclass(frozen=True)
class Point:
    """A feasible point in its scaled coordinates: multipliers T, the inverse P (F, k, k) of B, S,
    the least g of these multipliers, and a larger g."""

    given: Problem
    here: Problem
    T: np.ndarray
    P: np.ndarray
    S: np.ndarray
    g: float
    least: float
    barrier: float

    @staticmethod
    def at(problem: Problem, T: np.ndarray, g: float | None = None) -> Point | None:
        """The point, for twice the least g if none is given; None where it is infeasible."""
        here = problem.scaled(T)
        W, k = here.reads, here.reads.shape[2]
        B = np.eye(k) - _adjoint(W) @ W
        try:
            factors = np.linalg.cholesky(B)
            P = np.linalg.inv(B)
            S = _gains(here, P)
            least = float(np.linalg.eigvalsh(S).max())
            g = 2 * least if g is None else g
            slack = np.linalg.cholesky(g * np.eye(S.shape[-1]) - S)
        except np.linalg.LinAlgError:
            return None
        barrier = -_log_det(factors) / len(W) - _log_det(slack / math.sqrt(g))
        return Point(problem, here, T, P, S, g, least, barrier)

    def cost(self, pull: float) -> float:
        """What is minimised."""
        return pull * math.log(self.g) + self.barrier

    @cached_property
    def weights(self) -> np.ndarray:
        """A factor R of (g I - S)^-1 = R R^H, (F or 1, K, K)."""
        slack = np.linalg.cholesky(self.g * np.eye(self.S.shape[-1]) - self.S)
        return _adjoint(np.linalg.inv(slack))


def _gains(here: Problem, P: np.ndarray) -> np.ndarray:
    """S, (F, K, K) or (1, K, K)."""
    k = P.shape[1]
    core, last = here.outputs[..., :k], here.outputs[..., k:]
    S = core @ P @ _adjoint(core) + last @ _adjoint(last)
    if here.shares is None:
        return (S + _adjoint(S)) / 2
    total = np.einsum("f,fij->ij", here.shares, np.real(S))
    return ((total + total.T) / 2)[None]


def _log_det(factors: np.ndarray) -> float:
    return 2 * float(np.log(np.real(np.diagonal(factors, axis1=1, axis2=2))).sum())


def _adjoint(matrices: np.ndarray) -> np.ndarray:
    return matrices.conj().swapaxes(-1, -2)


def _newton(point: Point, pull: float) -> tuple[Point, float]:
    """The point after one step, the same if none helps, and Newton's decrement before it."""
    slope, curvature = _derivatives(point)
    slope[-1] += pull
    values, vectors = np.linalg.eigh(curvature)
    step = -(vectors / np.maximum(values, _LEAST_CURVATURE)) @ (vectors.T @ slope)
    moves, best = step[:-1][point.given.groups], point
    length = min(1.0, _LONGEST / float(abs(step).max()))
    for _ in range(_HALVINGS):
        T, g = point.T * np.exp(length * moves), point.g * math.exp(length * step[-1])
        after = Point.at(point.given, T, g)
        if after is not None and after.cost(pull) < best.cost(pull):
            best = after
        elif best is not point:  # shorter steps gain less
            break
        length *= 0.5
    return best, -float(slope @ step)


def _derivatives(point: Point) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and Hessian of the barrier in the logarithms of each group's multiplier and of g,
    the last.

    A relative change x_i of T_i changes B by ``x_i (e_i e_i' - w_i w_i^H)``, w_i^H the row of W. So
    all derivatives are sums over pairs of these vectors, of products of ``v^H P v'`` and of
    ``v^H F F^H v'`` with ``F = P Z^H R``. The logarithms add the gradient to the diagonal.
    """
    here, m = point.here, point.here.inputs
    n, k = here.remainders, point.P.shape[1]
    W, R = here.reads, point.weights
    F = _adjoint(here.outputs) @ R
    F[:, :k] = point.P @ F[:, :k]
    if here.shares is not None:
        F = np.sqrt(here.shares)[:, None, None] * F
    PW = point.P @ _adjoint(W)  # (F, k, n)
    P_pairs = _Pairs(_identity_after(point.P[:, m:, m:], n), _rows_after(PW[:, m:], n), W @ PW)
    Fe, Fw = F[:, m:], W @ F[:, :k]
    G_pairs = _Pairs(Fe @ _adjoint(Fe), Fe @ _adjoint(Fw), Fw @ _adjoint(Fw))
    slope = -(P_pairs.own() / len(W) + G_pairs.own())
    curvature = P_pairs.times(P_pairs) / len(W) + 2 * P_pairs.times(G_pairs)
    RR = point.g * (_adjoint(R) @ R)
    mixed = ((Fe @ RR) * Fe.conj()).real.sum((0, 2)) - ((Fw @ RR) * Fw.conj()).real.sum((0, 2))
    if here.shares is None:
        curvature += G_pairs.times(G_pairs)
    else:
        changes = np.einsum("fia,fib->iab", Fe.conj(), Fe) - np.einsum(
            "fia,fib->iab", Fw.conj(), Fw
        )
        flat = changes.real.reshape(n, -1)
        curvature += flat @ flat.T
    return _grouped(here.groups, slope, curvature, mixed, RR)


@dataclass(frozen=True)
class _Pairs:
    """Hermitian forms (F, n, n) of all pairs of vectors: e with e, e with w, w with w."""

    ee: np.ndarray
    ew: np.ndarray
    ww: np.ndarray

    def own(self) -> np.ndarray:
        """The sums over frequencies of e with itself minus w with itself, (n,)."""
        return np.einsum("fii->i", self.ee).real - np.einsum("fii->i", self.ww).real

    def times(self, other: _Pairs) -> np.ndarray:
        """The sums (n, n) of products with the conjugates of others, with the signs of e and w."""
        mixed = _product(self.ew, other.ew)
        return _product(self.ee, other.ee) - mixed - mixed.T + _product(self.ww, other.ww)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    parts = [np.einsum("fij,fij->ij", part(a), part(b)) for part in (np.real, np.imag)]
    return parts[0] + parts[1]


def _identity_after(P: np.ndarray, n: int) -> np.ndarray:
    """P with ones on the diagonal for the remainders of the last block."""
    whole = np.zeros((len(P), n, n), P.dtype)
    whole[:] = np.eye(n)
    whole[:, : P.shape[1], : P.shape[1]] = P
    return whole


def _rows_after(PW: np.ndarray, n: int) -> np.ndarray:
    whole = np.zeros((len(PW), n, n), PW.dtype)
    whole[:, : PW.shape[1]] = PW
    return whole


def _grouped(
    groups: np.ndarray, slope: np.ndarray, curvature: np.ndarray, mixed: np.ndarray, RR: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives in the logarithms of the groups' multipliers and of g, from those in relative
    changes of each T and of g; ``RR``: the inverse of g I - S times g, transformed."""
    member = np.eye(int(groups.max()) + 1)[groups]  # (n, groups)
    count = RR.shape[0] * RR.shape[1]
    trace = float(np.einsum("fii->", RR).real)
    whole = np.zeros((member.shape[1] + 1,) * 2)
    whole[:-1, :-1] = member.T @ (curvature + np.diag(slope)) @ member
    whole[-1, :-1] = whole[:-1, -1] = member.T @ mixed
    whole[-1, -1] = float((abs(RR) ** 2).sum()) - trace
    return np.concatenate([member.T @ (slope + 1), [count - trace]]), whole
