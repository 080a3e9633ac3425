"""One system in balls or in rational numbers, and results at growing precision."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Generic, TypeVar

import flint
import numpy as np
from flint import acb, acb_mat, arb, fmpq, fmpq_mat, fmpz

from ssmbench.analysis.interval import Interval
from ssmbench.analysis.scaling import balancing_scale

#: Working precisions in bits, tried in turn.
PRECISIONS = (128, 256, 512, 1024)
LARGEST_BEFORE_EXACT = 256
#: Relative width below which an enclosure counts as found.
TOLERANCE = 1e-9
#: Exact decisions in rational numbers are made for at most this many states, and bits in which all
#: entries of a system can be written.
LARGEST_EXACT = 24
LARGEST_BITS = 400
#: A precision at which sums and products of so many bits are exact.
EXACT_BITS = 1 << 17
_PARTS = (attrgetter("real"), attrgetter("imag"))

T = TypeVar("T")
#: Matrices of balls, or of rational numbers.
M = TypeVar("M", acb_mat, fmpq_mat)


@dataclass(frozen=True)
class BallSystem(Generic[M]):
    """One dense system, in balls or in rational numbers: G(z) = 2^exponent (C (z I - A)^-1 B + D).

    States, inputs, outputs and, in continuous time, time are scaled by powers of two, so that A, B
    and C are of like size: a frequency is 2^speed times that of these matrices.
    """

    A: M
    B: M
    C: M
    D: M
    exponent: int
    discrete: bool
    real: bool = False
    speed: int = 0

    @staticmethod
    def of(
        A: np.ndarray, B: np.ndarray, C: np.ndarray, D: np.ndarray, *, discrete: bool
    ) -> BallSystem[acb_mat]:
        """From float64 or complex128 matrices (N, N), (N, m), (p, N) and (p, m), all finite."""
        speed = 0 if discrete else _exponent(A)
        size_in, size_out = _exponent(B), _exponent(C)
        B_unit, C_unit = _times_power(B, -size_in), _times_power(C, -size_out)
        states = _scale_exponents(A, B_unit, C_unit)
        rows, columns = -states[:, None], states[None, :]
        exponent = size_in - speed + size_out
        return BallSystem[acb_mat](
            A=_to_balls(A, rows + columns - speed),
            B=_to_balls(B, rows - size_in),
            C=_to_balls(C, columns - size_out),
            D=_to_balls(D, -exponent),
            exponent=exponent,
            discrete=discrete,
            speed=speed,
            real=not any(np.iscomplexobj(x) and np.imag(x).any() for x in (A, B, C, D)),
        )

    @property
    def states(self) -> int:
        return self.A.nrows()


def _exponent(matrix: np.ndarray) -> int:
    """The exponent of the power of two nearest to the largest entry."""
    largest = max(abs(np.real(matrix)).max(initial=0.0), abs(np.imag(matrix)).max(initial=0.0))
    return math.frexp(largest)[1]


def _times_power(matrix: np.ndarray, exponent: int) -> np.ndarray:
    """2^exponent times a real or complex matrix; for exponents that a single factor cannot hold."""
    half = exponent // 2
    return matrix * 2.0**half * 2.0 ** (exponent - half)


def _scale_exponents(A: np.ndarray, B: np.ndarray, C: np.ndarray) -> np.ndarray:
    """Exponents (N,) of the state scaling that balances the system."""
    if not len(A):
        return np.zeros(0, dtype=int)
    unit = _times_power(A, -_exponent(A))
    return np.round(np.log2(balancing_scale(unit, B, C))).astype(int)


def _to_balls(matrix: np.ndarray, exponents: np.ndarray | int) -> acb_mat:
    """The entries times 2^exponents, without rounding."""
    exponents = np.broadcast_to(exponents, matrix.shape)
    rows, columns = matrix.shape
    entries = [
        acb(float(x.real), float(x.imag)) * (acb(2) ** int(k))
        for x, k in zip(matrix.ravel().tolist(), exponents.ravel().tolist(), strict=True)
    ]
    return acb_mat(rows, columns, entries)


def at_growing_precision(
    compute: Callable[[], T | None],
    exactly: Callable[[], T | None] | None = None,
    precisions: tuple[int, ...] = PRECISIONS,
) -> T | None:
    """The first result that is not None, with more digits each time; None where all fail.

    ``exactly`` computes it in rational numbers, and is preferred to the highest precisions.
    """
    for bits in precisions:
        if exactly is not None and bits > LARGEST_BEFORE_EXACT:
            break
        with flint.ctx.workprec(bits), contextlib.suppress(ZeroDivisionError, ValueError):
            found = compute()  # fails on singular matrices, and where eigenvalues are not apart
            if found is not None:
                return found
    if exactly is None:
        return None
    with flint.ctx.workprec(precisions[-1]), contextlib.suppress(ZeroDivisionError, ValueError):
        return exactly()
    return None


def lower(x: arb) -> float:
    """A float64 just below x, proved not to exceed it."""
    value = float(x.lower())
    value = value if arb(value) <= x else math.nextafter(value, -math.inf)
    return min(value, sys.float_info.max)


def upper(x: arb) -> float:
    """A float64 just above x, proved not to lie below it."""
    if not x.is_finite():
        return math.inf
    value = float(x.upper())
    return value if arb(value) >= x else math.nextafter(value, math.inf)


def rescaled(x: arb, exponent: int) -> Interval:
    """2^exponent x, a norm, as float64 numbers."""
    if x == 0:
        return Interval(0.0, 0.0)
    value = x * arb(2) ** exponent
    return Interval(max(lower(value), 0.0), upper(value))


# --- rational numbers ---------------------------------------------------------------------------


def is_small(states: int, *matrices: acb_mat) -> bool:
    """Whether exact arithmetic is quick: few states, and entries of few bits altogether."""
    parts = [part(x).man_exp() for M in matrices for x in M.entries() for part in _PARTS]
    ends = [(int(e), int(e) + int(abs(m)).bit_length()) for m, e in parts if m != 0]
    bits = max((high for _, high in ends), default=0) - min((low for low, _ in ends), default=0)
    return matrices[0].nrows() <= states and bits <= LARGEST_BITS


def real_rational(matrix: acb_mat, real: bool) -> fmpq_mat:
    """The matrix M, or [[Re M, -Im M], [Im M, Re M]]: of a system, its sum with its conjugate."""
    re, im = ([[rational(part(x)) for x in row] for row in matrix.tolist()] for part in _PARTS)
    if real:
        return fmpq_mat(re)
    top = [a + [-x for x in b] for a, b in zip(re, im, strict=True)]
    return fmpq_mat(top + [b + a for a, b in zip(re, im, strict=True)])


def rational(x: arb) -> fmpq:
    """The middle of a ball, without rounding."""
    mantissa, exponent = x.man_exp()
    power = fmpz(2) ** abs(int(exponent))
    return fmpq(mantissa * power) if exponent >= 0 else fmpq(mantissa, power)


def has_no_response(system: BallSystem[acb_mat]) -> bool:
    """Whether D and C A^k B vanish for all k < N, exactly, and so the transfer function."""
    if not is_zero(system.D) or not is_small(LARGEST_EXACT, system.A, system.B, system.C):
        return False
    with flint.ctx.workprec(EXACT_BITS):
        columns = system.B
        for _ in range(system.states):
            if not is_zero(system.C * columns):
                return False
            columns = system.A * columns
    return True


def is_zero(matrix: acb_mat) -> bool:
    return all(x == 0 for x in matrix.entries())
