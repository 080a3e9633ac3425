"""Norms of matrices of balls."""

from __future__ import annotations

from typing import Any

import numpy as np
from flint import acb, acb_mat, arb

#: Squarings of G^H G before its Frobenius norm is taken, which brings it within 1e-10 of sigma_max.
SQUARINGS = 36


def identity(kind: type, size: int) -> Any:
    return kind(size, size, [int(i == j) for i in range(size) for j in range(size)])


def square_norm(matrix: acb_mat) -> arb:
    # products, since a power of a ball that holds 0 is not a number
    return sum((x.real * x.real + x.imag * x.imag for x in matrix.entries()), arb(0))


def gain_reached(G: acb_mat) -> arb:
    """A close lower bound on sigma_max G: ||G v|| for the unit vector found in float64."""
    entries = G.entries()
    largest = max((abs(x) for x in entries), key=float, default=arb(0))
    if not largest > 0:
        return arb(0)
    unit = np.array([complex(x / largest) for x in entries]).reshape(G.nrows(), G.ncols())
    best = np.linalg.svd(unit)[2][0].conj()
    v = acb_mat([[acb(float(x.real), float(x.imag))] for x in best])
    return ((square_norm(G * v) / square_norm(v)).lower()).sqrt().lower()


def norm_bound(G: acb_mat) -> arb:
    """An upper bound on sigma_max G: a root of the Frobenius norm of a power of G^H G."""
    if G.nrows() == 1 or G.ncols() == 1:
        return square_norm(G).sqrt()
    return _root_of_power(G.conjugate().transpose() * G, SQUARINGS).sqrt()


def _root_of_power(matrix: acb_mat, squarings: int) -> arb:
    """||M^(2^k)||_F^(1 / 2^k), M scaled to norm 1 before it is squared."""
    size = square_norm(matrix).sqrt()
    if not squarings or not size > 0:
        return size
    unit = matrix * (1 / size.mid())
    return size.mid() * _root_of_power(unit * unit, squarings - 1).sqrt()
