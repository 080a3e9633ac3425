"""Matrices known up to an error of proved norm, and the rounding errors of float64 products."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ssmbench.linalg.precision import EPS

#: What a float64 number that is computed as an error bound may be too small, relatively.
OUTWARD = 1 + 1e-9


def gamma(terms: int) -> float:
    """The relative error of a sum of so many products of float64 or complex128 numbers.

    Four times that of real numbers (Higham 2002, Accuracy and Stability of Numerical Algorithms,
    sections 3.1 and 3.6), which covers complex products and the terms of second order.
    """
    return 4 * (terms + 8) * EPS


def norm_bound(matrix: np.ndarray) -> float:
    """An upper bound on the spectral norm: Frobenius', or sqrt(||M||_1 ||M||_inf)."""
    if not matrix.size:
        return 0.0
    sizes = abs(matrix)
    mixed = math.sqrt(float(sizes.sum(0).max()) * float(sizes.sum(1).max()))
    return min(mixed, float(np.linalg.norm(matrix))) * OUTWARD


@dataclass(frozen=True)
class Enclosed:
    """A real matrix (rows, columns): ``value`` in float64, and a bound ``error`` on the spectral
    norm of what is true minus ``value``."""

    value: np.ndarray
    error: float = 0.0

    @staticmethod
    def of(matrix: Tensor) -> Enclosed:
        """A stored matrix in float32 or float64, exactly."""
        return Enclosed(matrix.detach().double().cpu().numpy())

    @staticmethod
    def identity(size: int, factor: float = 1.0) -> Enclosed:
        """``factor`` times the identity."""
        return Enclosed(factor * np.eye(size))

    @staticmethod
    def zeros(rows: int, columns: int) -> Enclosed:
        """A matrix of zeros."""
        return Enclosed(np.zeros((rows, columns)))

    @property
    def norm(self) -> float:
        """A bound on the spectral norm of the true matrix."""
        return (norm_bound(self.value) + self.error) * OUTWARD

    def __matmul__(self, other: Enclosed) -> Enclosed:
        rounding = gamma(len(other.value)) * _frobenius(self.value) * _frobenius(other.value)
        error = self.norm * other.error + self.error * norm_bound(other.value) + rounding
        return Enclosed(self.value @ other.value, error * OUTWARD)

    def __add__(self, other: Enclosed) -> Enclosed:
        value = self.value + other.value
        rounding = EPS * _frobenius(value)
        return Enclosed(value, (self.error + other.error + rounding) * OUTWARD)

    def scaled(self, factor: float) -> Enclosed:
        """``factor`` times the matrix, the factor taken as exact."""
        value = factor * self.value
        error = abs(factor) * self.error + EPS * _frobenius(value)
        return Enclosed(value, error * OUTWARD)


def _frobenius(matrix: np.ndarray) -> float:
    return float(np.linalg.norm(matrix)) * OUTWARD


def is_positive(matrices: np.ndarray) -> bool:
    """Whether Hermitian matrices (..., n, n), as stored, are all proved to be positive definite.

    If the Cholesky factorization in float64 of A - c I runs to its end, where c is its largest
    backward error, gamma_{n+1} tr(A) up to second order, then A is positive definite.

    Source: Rump 2006, Verification of positive definiteness, BIT 46:433; Higham 2002, theorem 10.3.
    """
    size = matrices.shape[-1]
    if not np.isfinite(matrices).all():
        return False
    diagonal = np.real(np.diagonal(matrices, axis1=-2, axis2=-1))
    if not (diagonal > 0).all():
        return False
    shift = 2 * gamma(size + 1) * diagonal.sum(-1) * OUTWARD
    shifted = matrices - shift[..., None, None] * np.eye(size)
    try:
        factors = np.linalg.cholesky(shifted)
    except np.linalg.LinAlgError:
        return False
    return bool(np.isfinite(factors).all())
