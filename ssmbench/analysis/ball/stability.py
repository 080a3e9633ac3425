"""Where the poles of a system lie: enclosures of eigenvalues, or an exact polynomial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flint import acb, acb_mat, arb, fmpq, fmpq_poly

from ssmbench.analysis.ball.system import (
    LARGEST_EXACT,
    TOLERANCE,
    BallSystem,
    at_growing_precision,
    is_small,
    lower,
    real_rational,
    upper,
)
from ssmbench.analysis.interval import UNKNOWN, Interval


@dataclass(frozen=True)
class Poles:
    """Spectral radius (discrete time) or abscissa (continuous time), and on which side it lies.

    ``stable`` is None where neither could be proved. The radius is enclosed to within TOLERANCE of
    max(1, radius), the abscissa of the largest modulus of a pole; else ``extent`` is wider.
    """

    extent: Interval
    stable: bool | None


def poles(system: BallSystem[acb_mat]) -> Poles:
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
        polynomial = real_rational(system.A, system.real).charpoly()
        pairs: Any = polynomial.complex_roots()  # the stubs leave the multiplicities out
        roots = [root for root, _ in pairs]
        return Poles(_extent(roots, system)[0], _side_of(polynomial, system.discrete))

    small = is_small(LARGEST_EXACT, system.A)
    return at_growing_precision(compute, exactly if small else None) or Poles(best, None)


def _extent(eigenvalues: list[acb], system: BallSystem[acb_mat]) -> tuple[Interval, float]:
    """The enclosure at the present precision, and the size that its width is compared with."""
    time = arb(2) ** system.speed
    sizes = [abs(z) * time for z in eigenvalues]
    parts = sizes if system.discrete else [z.real * time for z in eigenvalues]
    found = Interval(max(map(lower, parts)), max(map(upper, parts)))
    largest = max(map(lower, sizes))
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


def _to_unit_disc(a: list[fmpq]) -> list[fmpq]:
    """The polynomial whose roots are (1 + s) / (1 - s) for the roots s of ``a``."""
    n, whole = len(a) - 1, fmpq_poly([0])
    for k, coefficient in enumerate(a):
        whole += coefficient * fmpq_poly([-1, 1]) ** k * fmpq_poly([1, 1]) ** (n - k)
    return whole.coeffs() + [fmpq(0)] * (n - whole.degree())
