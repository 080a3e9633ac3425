"""Sums of exponentials, f(t) = sum_k c_k exp(-a_k t), with fewer terms.

Such a sum is the impulse response of a continuous-time system with the modes -a_k, so that
balanced truncation applies: ``f - g`` then has a Laplace transform of at most twice the sum of the
removed singular values on the imaginary axis. This bounds the energy of the error's response to
any input. It does not bound ``|f(t) - g(t)|``, whose largest value is measured beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex128, Float64

from ssmbench.analysis.cauchy import cauchy_factor
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.errors import UsageError, require
from ssmbench.linalg.precision import EPS
from ssmbench.linalg.singular_values import graded_svd
from ssmbench.reduction.amount import Amount
from ssmbench.reduction.result import MEASURED_TO
from ssmbench.systems import ContinuousDiagonal

#: The singular values below this share of the largest are not kept: the sum is exact without them.
_NEGLIGIBLE = 1e-16
#: The slowest exponent, as a share of the largest modulus of any.
_SLOWEST = 1e-150
#: Points in time at which an error is looked for before the search is refined, in each direction.
_POINTS = 4096


@dataclass(frozen=True)
class ExponentialSum:
    """f(t) = sum_k c_k exp(-a_k t), Re a_k > 0: complex128 arrays a (M,) and c (M,).

    Raises:
        UsageError: the arrays do not fit together, hold a number that is not finite, or an
            exponent whose real part is not positive.
    """

    a: Complex128[np.ndarray, " M"]
    c: Complex128[np.ndarray, " M"]

    def __post_init__(self) -> None:
        for name in ("a", "c"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name)))
        shapes = f"a has shape {self.a.shape} and c {self.c.shape}"
        require(
            self.a.ndim == 1 and self.a.shape == self.c.shape,
            f"{shapes}; allowed: two arrays of one length, (M,)",
        )
        finite = bool(np.isfinite(self.a).all() and np.isfinite(self.c).all())
        require(finite, "a or c holds a number that is not finite")
        wrong = np.flatnonzero(np.real(self.a) <= 0)
        if wrong.size:
            first = int(wrong[0])
            raise UsageError(
                f"a[{first}] is {self.a[first]:.6g}, and its term does not decay; allowed: "
                "exponents of positive real part"
            )

    def __len__(self) -> int:
        return len(self.a)

    def __call__(self, t: Float64[np.ndarray, " T"]) -> Complex128[np.ndarray, " T"]:
        """The values at times (T,)."""
        return np.exp(-np.multiply.outer(np.asarray(t, dtype=np.float64), self.a)) @ self.c

    def __sub__(self, other: ExponentialSum) -> ExponentialSum:
        return ExponentialSum(np.append(self.a, other.a), np.append(self.c, -other.c))

    def is_real(self) -> bool:
        """Whether the terms are real or come in conjugate pairs, so that f is real."""
        terms = sorted(zip(self.a.tolist(), self.c.tolist(), strict=True), key=_by_parts)
        conjugates = [(a.conjugate(), c.conjugate()) for a, c in terms]
        return terms == sorted(conjugates, key=_by_parts)

    def gain(self) -> float:
        """The largest modulus of the Laplace transform on the imaginary axis."""
        if not len(self):
            return 0.0
        modes, residues = torch.from_numpy(-self.a)[None], torch.from_numpy(self.c)
        one = torch.ones(1, dtype=torch.float64)
        system = ContinuousDiagonal(
            lam=modes,
            B=torch.ones_like(modes)[..., None],
            C=residues[None, None],
            D=0 * one[:, None, None],
            dt=one,
        )
        return float(hinf_norm(system).norm)

    def largest(self) -> tuple[float, float]:
        """The largest |f(t)| over t >= 0 that a search finds, and where."""
        if not len(self):
            return 0.0, 0.0
        last, first = 40 / np.real(self.a).min(), 1e-3 / np.abs(self.a).max()
        t = np.concatenate([[0.0], np.geomspace(first, last, _POINTS), _evenly(last)])
        t.sort()
        for _ in range(4):  # each time between the neighbours of the best point
            best = int(np.abs(self(t)).argmax())
            ends = t[max(best - 1, 0)], t[min(best + 1, len(t) - 1)]
            t = np.append(np.linspace(*ends, 65), t[best])
            t.sort()
        best = int(np.abs(self(t)).argmax())
        return float(np.abs(self(t[best : best + 1]))[0]), float(t[best])


def _numbers(name: str, given: object) -> np.ndarray:
    try:
        return np.asarray(given, dtype=np.complex128)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} is no array of numbers, (M,): {error}") from None


def _evenly(last: float) -> np.ndarray:
    return np.linspace(0, last / 8, _POINTS)


def _by_parts(term: tuple[complex, complex]) -> tuple[float, ...]:
    a, c = term
    return a.real, a.imag, c.real, c.imag


@dataclass(frozen=True)
class ReducedSum:
    """A sum with fewer terms. ``hankel`` (M,): the singular values of the given one.

    ``bound``: twice the sum of those removed, on the H-infinity norm of the difference in exact
    arithmetic; ``hinf_error``: that norm, measured of the numbers that are returned. Rounding may
    make it exceed the bound, which ``above_bound`` says. ``sup_error``: the largest
    difference at any time that a search found, at ``sup_time``; the bound does not hold for it.
    """

    sum: ExponentialSum
    hankel: Float64[np.ndarray, " M"]
    bound: float
    hinf_error: float
    sup_error: float
    sup_time: float

    @property
    def above_bound(self) -> bool:
        """Whether the measured H-infinity error exceeds the bound."""
        return self.hinf_error > self.bound * (1 + MEASURED_TO)


def reduce_sum(given: ExponentialSum, amount: Amount) -> ReducedSum:
    """The sum with as few terms as the amount allows; a real one stays real, by conjugate pairs.

    With a tolerance, terms are added where the measured error of the rounded numbers exceeds it, in
    the end all of the given ones.

    Raises:
        UsageError: there is no term; the terms span too many orders of magnitude; or a coefficient
            of the result leaves the range of float64.

    Source: Beylkin & Monzon (2005), Appl. Comput. Harmon. Anal. 19:17; Haut & Beylkin (2012), SIAM
        J. Matrix Anal. Appl. 33:1101, the con-eigenvalues of the Cauchy matrix to high relative
        accuracy; Moore (1981), IEEE Trans. Autom. Control 26:17, and Glover (1984), Int. J. Control
        39:1115, the bound.
    """
    require(len(given) > 0, "the sum has no terms")
    speed, size = np.abs(given.a).max(), np.abs(given.c).max() or 1.0
    with np.errstate(all="ignore"):
        scaled = (given.a / speed, given.c / size)
        unit = size / speed
    known = np.isfinite(unit) and unit > 0 and np.real(scaled[0]).min() > _SLOWEST
    require(bool(known), "the exponents or coefficients span too many orders of magnitude")
    whole = ExponentialSum(*scaled)
    found = _balanced(_real_basis(whole) if whole.is_real() else _complex_basis(whole))
    hankel = unit * found.hankel[: len(given)]
    tails = 2 * np.append(hankel[::-1].cumsum()[::-1], 0.0)
    least = max(_NEGLIGIBLE * found.hankel[0], len(given) * EPS * found.size)
    rank = int((found.hankel[: len(given)] > least).sum())
    bounds = np.append(tails[: rank + 1], np.full(len(given) - rank, tails[rank]))
    kept = int(amount.orders(torch.from_numpy(bounds)[None], float(hankel[0]))[0])
    limit = amount.limit(float(hankel[0]))
    candidates = _Candidates(given, found, rank, speed, size)
    reduced, kept = candidates.within(limit, kept)
    while amount.measured and kept:
        smaller, fewer = candidates.at(kept - 1)
        if (given - smaller).gain() > limit:
            break
        reduced, kept = smaller, fewer
    if reduced is given:
        return ReducedSum(given, hankel, 0.0, 0.0, 0.0, 0.0)
    apart = given - reduced
    return ReducedSum(reduced, hankel, float(tails[kept]), apart.gain(), *apart.largest())


@dataclass(frozen=True)
class _Candidates:
    """Sums of each number of terms in the units of the given one, in which exponents are multiples
    of ``speed`` and coefficients of ``size``."""

    given: ExponentialSum
    found: _Balanced
    rank: int
    speed: float
    size: float

    def at(self, kept: int) -> tuple[ExponentialSum, int]:
        """The sum with so many terms, or fewer where one of them would not decay, and how many."""
        if kept == len(self.given):
            return self.given, kept
        while (terms := _truncated(self.found, kept)) is None:
            kept -= 1
        with np.errstate(all="ignore"):
            c = terms.c * self.size
        require(
            bool(np.isfinite(c).all()),
            "a coefficient of the reduced sum exceeds the range of float64; allowed: the same sum "
            "in other units, with smaller c",
        )
        return ExponentialSum(terms.a * self.speed, c), kept

    def within(self, limit: float, kept: int) -> tuple[ExponentialSum, int]:
        """The sum with at least so many terms, and more where its measured error exceeds the limit,
        in the end all."""
        reduced, count = self.at(kept)
        step = 1
        while count < len(self.given) and (self.given - reduced).gain() > limit:
            kept = kept + step if kept + step <= self.rank else len(self.given)
            reduced, count = self.at(kept)
            step *= 2
        return reduced, count


@dataclass(frozen=True)
class _Basis:
    """A realisation ``f(t) = c exp(A t) b`` with factors of its Gramians, ``L L^H`` and ``M M^H``.

    Their columns are graded, so that the singular values of ``M^H L`` are right to full relative
    accuracy, however small.
    """

    A: np.ndarray
    b: np.ndarray
    c: np.ndarray
    L: np.ndarray
    M: np.ndarray


@dataclass(frozen=True)
class _Balanced:
    """``size``: the largest sum of moduli of which an entry of ``M^H L`` is the sum; where it
    cancels, rounding of that size is left."""

    basis: _Basis
    left: np.ndarray
    hankel: np.ndarray
    right: np.ndarray
    size: float


def _balanced(basis: _Basis) -> _Balanced:
    U, hankel, Vh = graded_svd(basis.M.conj().T @ basis.L)
    size = float((np.abs(basis.M).T @ np.abs(basis.L)).max())
    return _Balanced(basis, basis.M @ U, hankel, basis.L @ Vh.conj().T, size)


def _truncated(found: _Balanced, kept: int) -> ExponentialSum | None:
    """The terms of the first ``kept`` balanced states; None if one does not decay by rounding."""
    basis, root = found.basis, 1 / np.sqrt(found.hankel[:kept])
    left, right = found.left[:, :kept] * root, found.right[:, :kept] * root
    poles, X = np.linalg.eig(left.conj().T @ basis.A @ right)
    if not bool((np.real(poles) < 0).all()):
        return None
    weights = (basis.c @ right @ X) * np.linalg.solve(X, left.conj().T @ basis.b)
    terms = ExponentialSum(-poles, weights)
    return _in_pairs(terms) if np.isrealobj(basis.A) else terms


def _in_pairs(given: ExponentialSum) -> ExponentialSum:
    """The same, with coefficients of conjugate exponents that are conjugate to the last bit."""
    upper, real = np.imag(given.a) > 0, np.imag(given.a) == 0
    a, c = given.a[upper], given.c[upper]
    return ExponentialSum(
        np.concatenate([a, a.conj(), given.a[real]]),
        np.concatenate([c, c.conj(), np.real(given.c[real])]),
    )


def _complex_basis(given: ExponentialSum) -> _Basis:
    """With b = c = the root of the coefficients: the observability Gramian is the conjugate of the
    other, and the singular values are the con-eigenvalues of the Cauchy matrix."""
    b = np.sqrt(given.c)
    L = _factor(given.a, b)
    return _Basis(np.diag(-given.a), b, b, L, L.conj())


def _real_basis(given: ExponentialSum) -> _Basis:
    """Real matrices: (Re z, Im z) in place of each pair of states z and its conjugate."""
    upper, real = np.imag(given.a) > 0, np.imag(given.a) == 0
    pairs, order = int(upper.sum()), np.argsort(~upper, kind="stable")
    first = order[:pairs]
    a = np.concatenate([given.a[first], given.a[first].conj(), given.a[real]])
    root, own = np.sqrt(given.c[first]), np.real(given.c[real])
    b = np.concatenate([root, root.conj(), np.sqrt(np.abs(own))])
    signs = np.concatenate([np.ones(2 * pairs), np.where(own < 0, -1.0, 1.0)])
    L = _factor(a, b)
    T, inverse = _to_real(pairs, len(own))
    return _Basis(
        A=np.real(T @ np.diag(-a) @ inverse),
        b=np.real(T @ b),
        c=np.real((signs * b) @ inverse),
        L=_interleaved(T @ L),
        M=_interleaved(inverse.conj().T @ (signs[:, None] * L.conj())),
    )


def _to_real(pairs: int, others: int) -> tuple[np.ndarray, np.ndarray]:
    """From (z, conj z, x) to (Re z, Im z, x), and back."""
    eye, rest = np.eye(pairs), np.eye(others)
    blocks = (np.block([[eye, eye], [-1j * eye, 1j * eye]]) / 2, rest)
    back = (np.block([[eye, 1j * eye], [eye, -1j * eye]]), rest)
    size = 2 * pairs
    T, inverse = (np.zeros((size + others, size + others), np.complex128) for _ in range(2))
    T[:size, :size], T[size:, size:] = blocks
    inverse[:size, :size], inverse[size:, size:] = back
    return T, inverse


def _interleaved(factor: np.ndarray) -> np.ndarray:
    """Real and imaginary part of each column: a factor of the same Gramian, where that is real."""
    return np.stack([np.real(factor), np.imag(factor)], -1).reshape(len(factor), -1)


def _factor(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    lam, B = torch.from_numpy(-a)[None], torch.from_numpy(b)[None, :, None]
    return cauchy_factor(lam, B, discrete=False)[0].numpy()
