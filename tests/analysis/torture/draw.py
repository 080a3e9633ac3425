"""Random numbers and matrix products that are the same bits on every machine.

Kept values of the oracle belong to exact inputs, so nothing here calls BLAS, LAPACK or the C
library's functions, whose last bits differ between processors: products are sums of elementwise
products in a fixed order, and powers, sines and cosines are mpmath's, rounded once.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TypeVar

import mpmath
import numpy as np

T = TypeVar("T")
PRECISION = 100  # bits of what is then rounded to a double


class Draw:
    """Seeded draws; Python's Mersenne Twister is specified, its use of libm is avoided."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self._random.random()

    def integer(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return self._random.randint(low, high)

    def choice(self, options: Sequence[T]) -> T:
        return options[self._random.randrange(len(options))]

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def power(self, low: float, high: float) -> float:
        """Log-uniform: 10 to a uniform power."""
        return power_of_ten(self.uniform(low, high))

    def sign(self) -> float:
        return self.choice((-1.0, 1.0))

    def normal(self, *shape: int, complex_: bool = False) -> np.ndarray:
        """Nearly normal: twelve uniform numbers added up."""
        if complex_:
            return self.normal(*shape) + 1j * self.normal(*shape)
        count = int(np.prod(shape, dtype=int))
        draws = [math.fsum(self._random.random() for _ in range(12)) - 6.0 for _ in range(count)]
        return np.array(draws, dtype=float).reshape(shape)


def power_of_ten(exponent: float) -> float:
    with mpmath.workprec(PRECISION):
        return float(mpmath.mpf(10) ** mpmath.mpf(exponent))


def circle(angle: float) -> tuple[float, float]:
    """Cosine and sine."""
    with mpmath.workprec(PRECISION):
        cosine, sine = mpmath.cos_sin(mpmath.mpf(angle))
        return float(cosine), float(sine)


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The matrix product, summed in the order of the inner index; no fused operations."""
    if np.iscomplexobj(left) or np.iscomplexobj(right):
        (a, b), (c, d) = (left.real, left.imag), (right.real, right.imag)
        real = product(a, c) - product(b, d)
        return real + 1j * (product(a, d) + product(b, c))
    total = np.zeros((left.shape[0], right.shape[1]))
    for k in range(left.shape[1]):
        total = total + left[:, k : k + 1] * right[k : k + 1, :]
    return total


def similar(A: np.ndarray, B: np.ndarray, C: np.ndarray, T: np.ndarray, inverse: np.ndarray):
    """The matrices in the coordinates T x; what rounding adds belongs to the new system."""
    return product(product(T, A), inverse), product(T, B), product(C, inverse)


def reflection(draw: Draw, size: int) -> np.ndarray:
    """A Householder matrix: its own inverse but for rounding."""
    v = draw.normal(size, 1)
    square = math.fsum(x * x for x in v[:, 0]) or 1.0
    return np.eye(size) - (2.0 / square) * (v * v.T)


def shears(draw: Draw, size: int, count: int, low: float, high: float):
    """A product of elementary shears I + a e_i e_j', |a| from 10^low to 10^high, and its inverse.

    Far from orthogonal: the condition number grows like the product of the a's.
    """
    T, inverse = np.eye(size), np.eye(size)
    for _ in range(count if size > 1 else 0):
        i = draw.integer(0, size - 1)
        j = (i + draw.integer(1, size - 1)) % size
        a = draw.sign() * draw.power(low, high)
        T[i] = T[i] + a * T[j]
        inverse[:, j] = inverse[:, j] - a * inverse[:, i]
    return T, inverse
