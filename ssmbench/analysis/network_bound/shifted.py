"""Static maps after a loop shift: a linear map, and remainders that are bounded by what they
read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ssmbench.analysis.network_bound.enclosed import Enclosed


@dataclass(frozen=True)
class Pointwise:
    """Rests ``v_i = g(y_i) - middle y_i`` of a map g of each number by itself.

    ``slopes``: for intervals [low, high], arrays of one shape, bounds on the slopes of g in them,
    from below and from above. ``curvature``: a Lipschitz constant of g's slope; None if unknown.
    """

    middle: float
    slopes: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    curvature: float | None = None


@dataclass(frozen=True)
class ShiftedMap:
    """``f(s) = linear s + out v``, v of y = read s, up to constants: ``|dv_i| <= radius_i |dy_i|``.

    For remainders with the same number in ``groups`` this holds only for their l2 norms together,
    and their radii are equal. Shapes: linear (d', d), read (n, d), out (d', n), radius and groups
    (n,).
    ``pointwise``: where remainders are those of one map, what is known of it within intervals.
    """

    linear: Enclosed
    read: Enclosed
    out: Enclosed
    radius: np.ndarray
    groups: np.ndarray
    pointwise: Pointwise | None = None

    @property
    def remainders(self) -> int:
        """The number n of remainders."""
        return len(self.radius)

    @staticmethod
    def of_matrix(linear: Enclosed) -> ShiftedMap:
        """A linear map, without remainders."""
        rows, columns = linear.value.shape
        none = np.zeros(0)
        read, out = Enclosed.zeros(0, columns), Enclosed.zeros(rows, 0)
        return ShiftedMap(linear, read, out, none, none.astype(int))

    @staticmethod
    def of_slopes(low: float, high: float, width: int) -> ShiftedMap:
        """A map of each of ``width`` numbers by itself, whose slopes lie in [low, high]: their
        middle times the number, and a remainder."""
        return between(low, high, Enclosed.identity(width), Enclosed.identity(width))

    @staticmethod
    def of_lipschitz(constant: float, inputs: int, outputs: int) -> ShiftedMap:
        """Any map of ``inputs`` numbers to ``outputs``, with a Lipschitz constant in l2."""
        n = max(inputs, outputs)
        return ShiftedMap(
            linear=Enclosed.zeros(outputs, inputs),
            read=Enclosed(np.eye(n, inputs)),
            out=Enclosed(np.eye(outputs, n)),
            radius=np.full(n, constant),
            groups=np.zeros(n, int),
        )

    def plus_matrix(self, matrix: Enclosed) -> ShiftedMap:
        """f(s) + matrix s."""
        return replace(self, linear=self.linear + matrix)

    def after(self, matrix: Enclosed) -> ShiftedMap:
        """f(matrix s)."""
        return replace(self, linear=self.linear @ matrix, read=self.read @ matrix)

    def then(self, matrix: Enclosed) -> ShiftedMap:
        """matrix f(s)."""
        return replace(self, linear=matrix @ self.linear, out=matrix @ self.out)


def between(low: float, high: float, out: Enclosed, read: Enclosed) -> ShiftedMap:
    """``out g(read s)``, g a map of each number by itself whose slopes lie in [low, high]."""
    middle = low / 2 + high / 2
    radius = math.nextafter(max(high - middle, middle - low), math.inf) if high > low else 0.0
    linear = (out @ read).scaled(middle)
    if radius == 0.0:
        return ShiftedMap.of_matrix(linear)
    n = read.value.shape[0]
    return ShiftedMap(linear, read, out, np.full(n, radius), np.arange(n))
