"""Systems in mpmath's numbers: doubles are exact, the rest has the working precision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import mpmath
import numpy as np
from mpmath import mp

from tests.analysis.torture.case import Case


@dataclass(frozen=True)
class Exact:
    """One copy; poles: given where A is diagonal."""

    discrete: bool
    A: mpmath.matrix
    B: mpmath.matrix
    C: mpmath.matrix
    D: mpmath.matrix
    diagonal: bool

    @property
    def states(self) -> int:
        return self.A.rows

    def silent(self) -> bool:
        """Whether nothing goes through the states."""
        return self.states == 0 or is_zero(self.B) or is_zero(self.C)


def heads(case: Case) -> Iterator[Exact]:
    """The heads of a bank, conjugate pairs and oscillators written out."""
    if case.oscillator:
        yield from _oscillators(case)
        return
    for A, B, C, D in zip(*case.arrays(), strict=True):
        if case.conjugate:
            A, B = np.concatenate([A, A.conj()]), np.concatenate([B, B.conj()])
            C = np.concatenate([C, C.conj()], axis=1)
        A = np.diag(A) if case.diagonal else A
        yield Exact(case.discrete, *map(_matrix, (A, B, C, D)), diagonal=case.diagonal)


def _oscillators(case: Case) -> Iterator[Exact]:
    """First-order form: positions, then velocities."""
    for a, B, C, D, g, C_v in zip(*case.arrays(), strict=True):
        none = np.zeros((len(a), len(a)))
        A = np.block([[none, np.eye(len(a))], [-np.diag(a), -np.diag(g)]])
        B, C = np.concatenate([0 * B, B]), np.concatenate([C, C_v], axis=1)
        yield Exact(False, *map(_matrix, (A, B, C, D)), diagonal=False)


def _matrix(array: np.ndarray) -> mpmath.matrix:
    made = mp.matrix(*array.shape)
    for place in np.ndindex(array.shape):
        value = array[place]
        made[place] = mp.mpc(value) if np.iscomplexobj(array) else mp.mpf(float(value))
    return made


def is_zero(M: mpmath.matrix) -> bool:
    return all(x == 0 for x in M)


def eye(size: int) -> mpmath.matrix:
    return mp.eye(size)


def solve(M: mpmath.matrix, R: mpmath.matrix) -> mpmath.matrix:
    """M^-1 R by elimination with row pivoting."""
    n, rows = M.rows, [[*row(M, i), *row(R, i)] for i in range(M.rows)]
    for k in range(n):
        pivot = max(range(k, n), key=lambda i: abs(rows[i][k]))
        rows[k], rows[pivot] = rows[pivot], rows[k]
        if rows[k][k] == 0:
            raise ZeroDivisionError("singular")
        inverse = 1 / rows[k][k]
        rows[k] = [x * inverse for x in rows[k][k:]]
        rows[k] = [mp.zero] * k + rows[k]
        for i in range(n):
            if i != k and rows[i][k] != 0:
                factor = rows[i][k]
                rows[i] = rows[i][: k + 1] + [
                    x - factor * y for x, y in zip(rows[i][k + 1 :], rows[k][k + 1 :], strict=True)
                ]
    return mp.matrix([row[n:] for row in rows])


def row(M: mpmath.matrix, i: int) -> list:
    return [M[i, j] for j in range(M.cols)]


def norm(M: mpmath.matrix) -> mpmath.mpf:
    """Frobenius norm."""
    return mp.sqrt(mp.fsum(abs(x) ** 2 for x in M))


def largest_singular_value(M: mpmath.matrix) -> mpmath.mpf:
    if min(M.rows, M.cols) == 1:
        return norm(M)
    gram = M * M.H if M.rows <= M.cols else M.H * M
    if is_zero(gram):
        return mp.zero
    return mp.sqrt(max(mp.zero, max(mp.eighe(gram, eigvals_only=True))))


def gain_at(system: Exact, point) -> mpmath.mpf:
    """The largest singular value of D + C (point - A)^-1 B."""
    if system.silent():
        return largest_singular_value(system.D)
    if system.diagonal:
        scaled = mp.matrix(
            [[b / (point - system.A[i, i]) for b in row(system.B, i)] for i in range(system.states)]
        )
    else:
        scaled = solve(point * eye(system.states) - system.A, system.B)
    return largest_singular_value(system.D + system.C * scaled)
