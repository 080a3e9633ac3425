"""The average supply of sinusoids: a Hermitian matrix at every frequency, in balls."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from flint import acb, acb_mat, arb

from ssmbench.analysis.ball.norms import identity
from ssmbench.analysis.ball.peak import on_axis
from ssmbench.analysis.ball.system import TOLERANCE, BallSystem
from ssmbench.analysis.bounded_real import cholesky_succeeds

INFINITE = arb("inf")
#: Where nothing is supplied at the least, the error that counts as none, relative to the largest.
_SMALLEST = 1e-9


@dataclass(frozen=True)
class Supply:
    """Q (p, p), S (p, m) and R (m, m) of a supply rate, float64 or complex128; Q, R Hermitian."""

    Q: np.ndarray
    S: np.ndarray
    R: np.ndarray


@dataclass(frozen=True)
class Problem:
    """A continuous system, a supply rate in its units, and the parts of the imaginary axis that
    are asked about."""

    axis: BallSystem[acb_mat]
    Q: acb_mat
    S: acb_mat
    R: acb_mat
    parts: tuple[tuple[arb, arb], ...]

    def at(self, omega: arb) -> acb_mat:
        """Pi at a frequency of the axis; raises ZeroDivisionError at a pole."""
        if not omega.is_finite():
            return self._at(arb(0), arb(1))
        return self._at(arb(1), omega)

    def at_angles(self, theta: arb) -> acb_mat:
        """Pi, enclosed, at all frequencies tan(theta / 2), infinity among them."""
        return self._at((theta / 2).cos(), (theta / 2).sin())

    def _at(self, denominator: arb, numerator: arb) -> acb_mat:
        G, axis = self.axis.D, self.axis
        if axis.states:
            scale = acb(denominator)
            resolvent = acb(0, numerator) * identity(acb_mat, axis.states) - axis.A * scale
            G = axis.C * resolvent.solve(axis.B * scale) + G
        H = adjoint(G)
        return H * self.Q * G + H * self.S + adjoint(self.S) * G + self.R


def problem_of(system: BallSystem[acb_mat], supply: Supply, low: float, high: float) -> Problem:
    axis = on_axis(system) if system.states else system
    unit = acb(arb(2) ** system.exponent)
    part = (_on_axis_frequency(low, system), _on_axis_frequency(high, system))
    parts = (part,) if system.real else (part, (-part[1], -part[0]))
    return Problem(
        axis, _balls(supply.Q) * (unit * unit), _balls(supply.S) * unit, _balls(supply.R), parts
    )


def _on_axis_frequency(omega: float, system: BallSystem[acb_mat]) -> arb:
    if not system.discrete:
        return INFINITE if math.isinf(omega) else arb(omega) / arb(2) ** system.speed
    return INFINITE if omega >= math.pi else (arb(omega) / 2).tan()


def _balls(matrix: np.ndarray) -> acb_mat:
    rows, columns = matrix.shape
    entries = [acb(float(np.real(x)), float(np.imag(x))) for x in matrix.ravel()]
    return acb_mat(rows, columns, entries)


def adjoint(matrix: acb_mat) -> acb_mat:
    return matrix.conjugate().transpose()


@dataclass
class Found:
    """The least value so far, where it is reached, and all frequencies that were looked at."""

    least: arb = INFINITE
    omega: arb = INFINITE
    largest: float = 0.0
    places: tuple[tuple[arb, float], ...] = ()
    share: float = TOLERANCE / 2

    def search(self, problem: Problem, candidates: Iterable[arb]) -> None:
        for omega in candidates:
            try:
                Pi = problem.at(omega)
            except ZeroDivisionError:
                continue
            about, value = least_eigenvalue(Pi)
            if not value.is_finite():
                continue
            self.largest = max(self.largest, about)
            self.places += ((omega, float(value)),)
            if not self.least <= value:
                self.least, self.omega = value, omega

    def level(self) -> arb:
        """The level, just below the least value, that is to be proved."""
        size = max(abs(float(self.least)), _SMALLEST * self.largest, 1e-290)
        return self.least - arb(self.share * size)


def least_eigenvalue(Pi: acb_mat) -> tuple[float, arb]:
    """About the norm of Pi, and an upper bound on its least eigenvalue: a Rayleigh quotient."""
    entries = Pi.entries()
    largest = max((abs(x) for x in entries), key=float)
    if not largest.is_finite():
        return 0.0, INFINITE
    if not largest > 0:
        return 0.0, largest.upper()
    unit = np.array([complex(x / largest) for x in entries]).reshape(Pi.nrows(), Pi.ncols())
    vector = np.linalg.eigh((unit + unit.conj().T) / 2)[1][:, 0]
    v = acb_mat([[acb(float(x.real), float(x.imag))] for x in vector])
    quotient = (adjoint(v) * Pi * v)[0, 0].real / (adjoint(v) * v)[0, 0].real
    return float(largest), quotient.upper()


def exceeds_at(Pi: acb_mat, level: arb) -> bool:
    return _is_positive(Pi - level * identity(acb_mat, Pi.nrows()))


def _is_positive(matrix: acb_mat) -> bool:
    """Whether every Hermitian matrix in the enclosure is positive definite."""
    largest = max((abs(x) for x in matrix.entries()), key=float)
    if not (largest.is_finite() and largest > 0):
        return False
    unit = matrix * (1 / largest.mid())
    if unit.nrows() == 1:
        return bool(unit[0, 0].real > 0)
    entries = unit.entries()
    middle = np.array([complex(x) for x in entries]).reshape(unit.nrows(), unit.ncols())
    pairs = zip(entries, middle.ravel().tolist(), strict=True)
    radius = [float(abs(x - acb(m.real, m.imag)).upper()) for x, m in pairs]
    error = torch.tensor(radius, dtype=torch.float64).reshape(middle.shape)
    M = torch.from_numpy((middle + middle.conj().T) / 2)[None]
    return bool(cholesky_succeeds(M, 1.01 * (error + error.T)[None] + 1e-15))
