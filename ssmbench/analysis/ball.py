"""Proofs about one dense system in ball arithmetic: poles, H-infinity norm and H2 norm.

Every number is an interval of arbitrary precision (FLINT/Arb; Johansson 2017, IEEE Trans. Comput.
66:1281), every result encloses the true value, and a result that is too wide is computed again with
twice the digits. So a figure is right or absent, however ill-conditioned the matrices are.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from operator import attrgetter
from typing import Any, TypeVar

import flint
import numpy as np
from flint import acb, acb_mat, arb, fmpq, fmpq_mat, fmpq_poly, fmpz

from ssmbench.analysis.interval import INFINITE, UNKNOWN, UNPROVED, Interval
from ssmbench.analysis.scaling import balancing_scale

#: Working precisions in bits, tried in turn.
PRECISIONS = (128, 256, 512, 1024)
LARGEST_BEFORE_EXACT = 256
#: Further ones for Gramians, whose recursion loses 50 bits a doubling where A is far from normal.
GRAMIAN_BITS = (2048, 4096)
#: Relative width below which an enclosure counts as found.
TOLERANCE = 1e-9
#: Rounds of the level-set method at one precision.
ROUNDS = 30
#: Exact decisions in rational numbers are made for at most this many states.
LARGEST_EXACT = 24
LARGEST_EXACT_LEVEL = 12
LARGEST_BITS = 400
EXACT_BITS = 1 << 17
#: Squarings of G^H G before its Frobenius norm is taken, which brings it within 1e-10 of sigma_max.
SQUARINGS = 36
_PARTS = (attrgetter("real"), attrgetter("imag"))
#: Doublings of a Gramian's horizon: enough for a stability margin of 1e-30.
DOUBLINGS = 100

T = TypeVar("T")


@dataclass(frozen=True)
class BallSystem:
    """One dense system, in balls or in rational numbers: G(z) = 2^exponent (C (z I - A)^-1 B + D).

    States, inputs, outputs and, in continuous time, time are scaled by powers of two, so that A, B
    and C are of like size: a frequency is 2^speed times that of these matrices.
    """

    A: acb_mat | fmpq_mat
    B: acb_mat | fmpq_mat
    C: acb_mat | fmpq_mat
    D: acb_mat | fmpq_mat
    exponent: int
    discrete: bool
    real: bool = False
    speed: int = 0

    @staticmethod
    def of(
        A: np.ndarray, B: np.ndarray, C: np.ndarray, D: np.ndarray, *, discrete: bool
    ) -> BallSystem:
        """From float64 or complex128 matrices (N, N), (N, m), (p, N) and (p, m), all finite."""
        speed = 0 if discrete else _exponent(A)
        size_in, size_out = _exponent(B), _exponent(C)
        B_unit, C_unit = _times_power(B, -size_in), _times_power(C, -size_out)
        states = _scale_exponents(A, B_unit, C_unit)
        rows, columns = -states[:, None], states[None, :]
        exponent = size_in - speed + size_out
        return BallSystem(
            A=_to_balls(A, rows + columns - speed),
            B=_to_balls(B, rows - size_in),
            C=_to_balls(C, columns - size_out),
            D=_to_balls(D, -exponent),
            exponent=exponent,
            discrete=discrete,
            speed=speed,
            real=not any(np.iscomplexobj(x) and x.imag.any() for x in (A, B, C, D)),
        )

    @property
    def states(self) -> int:
        return self.A.nrows()


def _exponent(matrix: np.ndarray) -> int:
    """The power of two next to the largest entry."""
    largest = max(abs(matrix.real).max(initial=0.0), abs(matrix.imag).max(initial=0.0))
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


# --- searching at growing precision -------------------------------------------------------------


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


def _lower(x: arb) -> float:
    """The largest float64 next to x that is proved not to exceed it."""
    value = float(x.lower())
    value = value if arb(value) <= x else math.nextafter(value, -math.inf)
    return min(value, sys.float_info.max)


def _upper(x: arb) -> float:
    """The smallest float64 next to x that is proved not to lie below it."""
    if not x.is_finite():
        return math.inf
    value = float(x.upper())
    return value if arb(value) >= x else math.nextafter(value, math.inf)


def _scaled(x: arb, exponent: int) -> Interval:
    """2^exponent x, a norm, as float64 numbers."""
    if x == 0:
        return Interval(0.0, 0.0)
    value = x * arb(2) ** exponent
    return Interval(max(_lower(value), 0.0), _upper(value))


# --- poles --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Poles:
    """Spectral radius (discrete time) or abscissa (continuous time), and on which side it lies.

    ``stable`` is None where neither could be proved. The radius is enclosed to within TOLERANCE of
    max(1, radius), the abscissa of the largest modulus of a pole; else ``extent`` is wider.
    """

    extent: Interval
    stable: bool | None


def poles(system: BallSystem) -> Poles:
    """Where the poles of a system with at least one state lie."""
    best = UNKNOWN

    def compute() -> Poles | None:
        nonlocal best
        found, scale = _extent(system.A.eig(multiple=True), system)
        best = found if found.upper - found.lower <= best.upper - best.lower else best
        side = _side(found, 1.0 if system.discrete else 0.0)
        narrow = found.upper - found.lower <= TOLERANCE * scale
        return Poles(found, side) if narrow and side is not None else None

    def exactly() -> Poles:
        polynomial = _real_rational(system.A, system.real).charpoly()
        roots = [root for root, _ in polynomial.complex_roots()]
        return Poles(_extent(roots, system)[0], _side_of(polynomial, system.discrete))

    small = _is_small(LARGEST_EXACT, system.A)
    return at_growing_precision(compute, exactly if small else None) or Poles(best, None)


def _extent(eigenvalues: list[acb], system: BallSystem) -> tuple[Interval, float]:
    """The enclosure at the present precision, and the size that its width is compared with."""
    time = arb(2) ** system.speed
    sizes = [abs(z) * time for z in eigenvalues]
    parts = sizes if system.discrete else [z.real * time for z in eigenvalues]
    found = Interval(max(map(_lower, parts)), max(map(_upper, parts)))
    largest = max(map(_lower, sizes))
    return found, max(1.0, largest) if system.discrete else largest


def _side(found: Interval, boundary: float) -> bool | None:
    if found.upper < boundary:
        return True
    return False if found.lower >= boundary else None


def _side_of(polynomial: fmpq_poly, discrete: bool) -> bool:
    """Stability by the Schur-Cohn recursion in rational numbers, exact also on the boundary."""
    a = polynomial.coeffs() if discrete else _to_unit_disc(polynomial.coeffs())
    while len(a) > 1:
        if abs(a[0]) >= abs(a[-1]):
            return False
        rest = [a[-1] * a[k + 1] - a[0] * a[-2 - k] for k in range(len(a) - 1)]
        a = [x / rest[-1] for x in rest]
    return True


def _is_small(states: int, *matrices: acb_mat) -> bool:
    """Whether exact arithmetic is quick: few states, and entries of few bits altogether."""
    parts = [part(x).man_exp() for M in matrices for x in M.entries() for part in _PARTS]
    ends = [(int(e), int(e) + int(abs(m)).bit_length()) for m, e in parts if m != 0]
    bits = max((high for _, high in ends), default=0) - min((low for low, _ in ends), default=0)
    return matrices[0].nrows() <= states and bits <= LARGEST_BITS


def _real_rational(matrix: acb_mat, real: bool) -> fmpq_mat:
    """The matrix M, or [[Re M, -Im M], [Im M, Re M]]: of a system, its sum with its conjugate."""
    re, im = ([[_rational(part(x)) for x in row] for row in matrix.tolist()] for part in _PARTS)
    if real:
        return fmpq_mat(re)
    top = [a + [-x for x in b] for a, b in zip(re, im, strict=True)]
    return fmpq_mat(top + [b + a for a, b in zip(re, im, strict=True)])


def _rational(x: arb) -> fmpq:
    mantissa, exponent = x.man_exp()
    power = fmpz(2) ** abs(int(exponent))
    return fmpq(mantissa * power) if exponent >= 0 else fmpq(mantissa, power)


def _to_unit_disc(a: list[fmpq]) -> list[fmpq]:
    """The polynomial whose roots are (1 + s) / (1 - s) for the roots s of ``a``."""
    n, whole = len(a) - 1, fmpq_poly([0])
    for k, coefficient in enumerate(a):
        whole += coefficient * fmpq_poly([-1, 1]) ** k * fmpq_poly([1, 1]) ** (n - k)
    return whole.coeffs() + [fmpq(0)] * (n - whole.degree())


# --- H-infinity norm ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Peak:
    """The norm enclosed, and the frequency at which its lower end is reached (infinite for D)."""

    norm: Interval
    omega: float


def hinf(system: BallSystem) -> Peak:
    """The H-infinity norm of a stable system by the level-set method.

    Where no level could be proved, the interval has no upper end.

    Source: Bruinsma & Steinbuch (1990), Syst. Control Lett. 14:287; a level above the gain at one
        frequency exceeds the norm if and only if its Hamiltonian matrix has no imaginary
        eigenvalue, which enclosures of all eigenvalues prove.
    """
    if _is_zero(system.B) or _is_zero(system.C):
        return _static(system)
    if _has_no_response(system):
        return Peak(Interval(0.0, 0.0), 0.0)
    small = _is_small(LARGEST_EXACT_LEVEL, system.A, system.B, system.C, system.D)
    found = at_growing_precision(
        lambda: _level_set(axis := _on_axis(system), partial(_crossings, axis)),
        (lambda: _exact_level_set(system)) if small else None,
    )
    gain, level, omega = found or _lower_bound(system)
    lower, upper = _scaled(gain, system.exponent).lower, _scaled(level, system.exponent).upper
    omega = 2 * math.atan(omega) if system.discrete else _frequency(omega, system.speed)
    return Peak(Interval(lower, upper), abs(omega) if system.real else omega)


def _frequency(omega: float, speed: int) -> float:
    try:
        return math.ldexp(omega, speed)
    except OverflowError:
        return math.copysign(math.inf, omega)


def _static(system: BallSystem) -> Peak:
    with flint.ctx.workprec(PRECISIONS[0]):
        lower, upper = _gain_of(system.D), _norm_bound(system.D)
        norm = Interval(
            _scaled(lower, system.exponent).lower, _scaled(upper, system.exponent).upper
        )
    return Peak(norm, 0.0 if system.discrete else math.inf)


def _is_zero(matrix: acb_mat) -> bool:
    return all(x == 0 for x in matrix.entries())


def _lower_bound(system: BallSystem) -> tuple[arb, arb, float]:
    """The largest gain found at a pole's frequency, and no upper bound."""
    gain, omega = arb(0), 0.0
    with flint.ctx.workprec(PRECISIONS[1]), contextlib.suppress(ZeroDivisionError, ValueError):
        axis = _on_axis(system)
        gain, omega = _climb(axis, _pole_frequencies(axis), gain, omega)
    return gain, arb("inf"), omega


def _pole_frequencies(axis: BallSystem) -> list[arb]:
    about = axis.A.eig(algorithm="approx", maxiter=100 * axis.states)
    return [z.imag.mid() for z in about] + [abs(z).mid() for z in about] + [arb(0)]


def _exact_level_set(system: BallSystem) -> tuple[arb, arb, float] | None:
    exact = _on_axis(_rational_system(system))
    return _level_set(_on_axis(system), partial(_exact_crossings, exact))


def _level_set(
    axis: BallSystem, crossings_at: Callable[[arb], list[arb] | None]
) -> tuple[arb, arb, float] | None:
    """A gain reached, a level above all gains and next to it, and the frequency of the former."""
    gain, omega = _climb(axis, _pole_frequencies(axis), _gain_of(axis.D), math.inf)
    for _ in range(ROUNDS):
        level = gain * (1 + arb(TOLERANCE) / 2)
        crossings = crossings_at(level.mid()) if gain > 0 else None
        if crossings is None:
            return None
        higher, omega_higher = _climb(axis, _with_middles(crossings), gain, omega)
        if not crossings:
            return gain, level, omega
        if not higher > gain:
            return None
        gain, omega = higher, omega_higher
    return None


def _on_axis(system: BallSystem) -> BallSystem:
    """A continuous system of the same gains: itself, or z = (1 + s) / (1 - s) put into G."""
    if not system.discrete:
        return system
    eye = _eye(type(system.A), system.states)
    inverse = (system.A + eye).inv()
    D = system.D - system.C * inverse * system.B
    matrices = ((system.A - eye) * inverse, 2 * (inverse * system.B), system.C * inverse, D)
    return BallSystem(*matrices, exponent=system.exponent, discrete=False, real=system.real)


def _crossings(axis: BallSystem, level: arb) -> list[arb] | None:
    """Frequencies at which the gain may equal the level; None where the level is below D's gain."""
    if not _norm_bound(axis.D * (1 / level)) < 1:
        return None
    eye = partial(_eye, acb_mat)
    hamiltonian = _hamiltonian(axis, 1 / level, eye, lambda M: M.conjugate().transpose())
    eigenvalues = hamiltonian.eig(multiple=True)
    return [z.imag.mid() for z in eigenvalues if z.real.contains(0)]


def _exact_crossings(axis: BallSystem, level: arb) -> list[arb] | None:
    """The same in rational numbers, by the real roots of the characteristic polynomial in s^2."""
    if not _norm_bound(_to_balls_exactly(axis.D) * (1 / level)) < 1:
        return None
    eye = partial(_eye, fmpq_mat)
    hamiltonian = _hamiltonian(axis, 1 / _rational(level), eye, fmpq_mat.transpose)
    even = fmpq_poly(hamiltonian.charpoly().coeffs()[::2])
    roots = [x.real for x, _ in even.complex_roots() if x.imag == 0 and not x.real > 0]
    found = [abs(x).sqrt().mid() for x in roots]
    return found + [-omega for omega in found]  # of a complex system, one of the two crosses


def _rational_system(system: BallSystem) -> BallSystem:
    """The system, or its real form, in rational numbers."""
    matrices = (system.A, system.B, system.C, system.D)
    parts = (_real_rational(matrix, system.real) for matrix in matrices)
    return BallSystem(*parts, exponent=system.exponent, discrete=system.discrete, real=True)


def _to_balls_exactly(matrix: fmpq_mat) -> acb_mat:
    return acb_mat([[acb(x) for x in row] for row in matrix.tolist()])


def _eye(kind: type, size: int) -> Any:
    return kind(size, size, [int(i == j) for i in range(size) for j in range(size)])


def _hamiltonian(axis: Any, inverse_level: Any, eye: Callable, adjoint: Callable) -> Any:
    """The Hamiltonian matrix of a level, in any exact or interval arithmetic."""
    A, B, C, D = axis.A, axis.B * inverse_level, axis.C, axis.D * inverse_level
    inputs = (eye(B.ncols()) - adjoint(D) * D).inv()
    outputs = eye(C.nrows()) + D * inputs * adjoint(D)
    drift = A + B * inputs * adjoint(D) * C
    top = _beside(drift, B * inputs * adjoint(B))
    bottom = _beside(-(adjoint(C) * outputs * C), -adjoint(drift))
    return type(A)(top + bottom)


def _beside(left: Any, right: Any) -> list[list[Any]]:
    return [a + b for a, b in zip(left.tolist(), right.tolist(), strict=True)]


def _with_middles(crossings: list[arb]) -> list[arb]:
    """Frequencies, in order, and the middles between them: some middle lies above the level.

    Geometric means as well as arithmetic ones, since frequencies may span many powers of ten.
    """
    ordered = sorted([*crossings, arb(0)], key=float)
    pairs = list(pairwise(ordered))
    means = [(a * b).sqrt() * (1 if a > 0 else -1) for a, b in pairs if a * b > 0]
    return ordered + [(a + b) / 2 for a, b in pairs] + [x.mid() for x in means]


def _climb(axis: BallSystem, candidates: list[arb], gain: arb, omega: float) -> tuple[arb, float]:
    """The largest proved gain among the candidates and the best so far, with its frequency."""
    for candidate in candidates:
        found = _gain_at(axis, candidate)
        if found > gain:
            gain, omega = found, float(candidate.mid())
    return gain, omega


def _gain_at(axis: BallSystem, omega: arb) -> arb:
    """A lower bound on sigma_max G(i omega); 0 where i omega cannot be told from a pole."""
    resolvent = acb(0, omega) * _eye(acb_mat, axis.states) - axis.A
    try:
        return _gain_of(axis.C * resolvent.solve(axis.B) + axis.D)
    except ZeroDivisionError:
        return arb(0)


def _gain_of(G: acb_mat) -> arb:
    """A lower bound on sigma_max G, next to it: ||G v|| for the unit vector best in float64."""
    entries = G.entries()
    largest = max((abs(x) for x in entries), key=float, default=arb(0))
    if not largest > 0:
        return arb(0)
    unit = np.array([complex(x / largest) for x in entries]).reshape(G.nrows(), G.ncols())
    best = np.linalg.svd(unit)[2][0].conj()
    v = acb_mat([[acb(float(x.real), float(x.imag))] for x in best])
    return ((_square_norm(G * v) / _square_norm(v)).lower()).sqrt().lower()


def _square_norm(matrix: acb_mat) -> arb:
    # products, since a power of a ball that holds 0 is not a number
    return sum((x.real * x.real + x.imag * x.imag for x in matrix.entries()), arb(0))


def _norm_bound(G: acb_mat) -> arb:
    """An upper bound on sigma_max G: a root of the Frobenius norm of a power of G^H G."""
    if G.nrows() == 1 or G.ncols() == 1:
        return _square_norm(G).sqrt()
    return _root_of_power(G.conjugate().transpose() * G, SQUARINGS).sqrt()


def _root_of_power(matrix: acb_mat, squarings: int) -> arb:
    """||M^(2^k)||_F^(1 / 2^k), M scaled to norm 1 before it is squared."""
    size = _square_norm(matrix).sqrt()
    if not squarings or not size > 0:
        return size
    unit = matrix * (1 / size.mid())
    return size.mid() * _root_of_power(unit * unit, squarings - 1).sqrt()


def _has_no_response(system: BallSystem) -> bool:
    """Whether D and C A^k B vanish for all k < N, exactly, and so the transfer function."""
    if not _is_zero(system.D) or not _is_small(LARGEST_EXACT, system.A, system.B, system.C):
        return False
    with flint.ctx.workprec(EXACT_BITS):
        columns = system.B
        for _ in range(system.states):
            if not _is_zero(system.C * columns):
                return False
            columns = system.A * columns
    return True


# --- H2 norm ------------------------------------------------------------------------------------


def h2(system: BallSystem) -> Interval:
    """H2 norm of a stable system, enclosed; for a continuous one with D != 0 it is infinite.

    Source: the controllability Gramian X = sum_k A^k B B^H A^kH by doubling (Smith 1968); what is
        left out after 2^k steps is A_k X A_k^H with A_k = A^(2^k), in continuous time for the
        bilinear transform of A, which has the same Gramian.
    """
    if not system.discrete and not _is_zero(system.D):
        return INFINITE
    if _has_no_response(system):
        return Interval(0.0, 0.0)
    if _is_zero(system.B) or _is_zero(system.C):
        with flint.ctx.workprec(PRECISIONS[0]):
            return _scaled(_square_norm(system.D).sqrt(), system.exponent)
    found = at_growing_precision(lambda: _energy(system), precisions=PRECISIONS + GRAMIAN_BITS)
    if found is None:
        return UNPROVED
    time = arb(2) ** system.speed  # energy per unit of time
    return _scaled((found * time).sqrt(), system.exponent)


def _energy(system: BallSystem) -> arb | None:
    A, B = (system.A, system.B) if system.discrete else _bilinear(system)
    X, C = B * B.conjugate().transpose(), system.C
    direct = _square_norm(system.D) if system.discrete else arb(0)
    for _ in range(DOUBLINGS):
        X, A = X + A * X * A.conjugate().transpose(), A * A
        share, sizes = _square_norm(A).sqrt(), _square_norm(X).sqrt()
        if not share.is_finite():
            return None
        if not share < 0.5:
            continue
        rest = _square_norm(C) * share**2 * sizes / (1 - share**2)
        energy = direct + _trace(C * X * C.conjugate().transpose())
        total = energy + arb(0, 1) * rest.upper()  # the tail is positive: rest above, none below
        if total.rad() <= TOLERANCE * energy.mid():
            return total.union(energy) if energy > 0 else None
        if rest <= energy.rad():  # more steps help no further, only more digits
            return None
    return None


def _trace(matrix: acb_mat) -> arb:
    return sum((matrix[i, i].real for i in range(matrix.nrows())), arb(0))


def _bilinear(system: BallSystem) -> tuple[acb_mat, acb_mat]:
    """(w I - A)^-1 (w I + A) and sqrt(2 w) (w I - A)^-1 B, w between the slow and the fast pole."""
    about = system.A.eig(algorithm="approx")
    parts, sizes = [-z.real for z in about], [abs(z) for z in about]
    speed = (min(parts, key=float) * max(sizes, key=float)).mid()
    w = arb(2) ** round(math.frexp(float(speed.sqrt()))[1]) if speed > 0 else arb(1)
    eye = w * _eye(acb_mat, system.states)
    inverse = (eye - system.A).inv()
    return inverse * (eye + system.A), (2 * w).sqrt() * (inverse * system.B)
