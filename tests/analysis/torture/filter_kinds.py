"""Filters and resonators."""

from __future__ import annotations

import mpmath
import numpy as np

from tests.analysis.torture.case import Case, dense_case
from tests.analysis.torture.draw import PRECISION, Draw, circle
from tests.analysis.torture.parts import feedthrough, kind


@kind
def butterworth(draw: Draw, name: str) -> Case:
    """A low-pass or high-pass filter of order 1 to 8 in companion form, cutoff down to 1e-4."""
    order, cutoff = draw.integer(1, 8), draw.power(-4, -0.3)
    high_pass = draw.chance(0.25)
    discrete = draw.chance(0.75)
    numerator, denominator = _butter(order, cutoff, high_pass, discrete)
    A = np.zeros((order, order))
    A[0] = [-a for a in denominator[1:]]
    A[1:, :-1] = np.eye(order - 1)
    B = np.zeros((order, 1))
    B[0] = 1.0
    C = np.array(
        [[b - numerator[0] * a for a, b in zip(denominator[1:], numerator[1:], strict=True)]]
    )
    return dense_case(name, discrete, A, B, C, [[numerator[0]]])


def _butter(order: int, cutoff: float, high_pass: bool, discrete: bool):
    """Coefficients, highest power first, rounded once; cutoff relative to the Nyquist frequency."""
    with mpmath.workprec(4 * PRECISION):
        omega = mpmath.tan(mpmath.pi * mpmath.mpf(cutoff) / 2) if discrete else mpmath.mpf(cutoff)
        poles = [
            omega * mpmath.expjpi(mpmath.mpf(2 * k + order + 1) / (2 * order)) for k in range(order)
        ]  # a high-pass is a low-pass with its poles mirrored in |s| = omega: the same ones
        zeros = [mpmath.mpf(0)] * order if high_pass else []
        if discrete:
            poles = [(1 + p) / (1 - p) for p in poles]
            zeros = [mpmath.mpf(1 if high_pass else -1)] * order
        denominator, numerator = _polynomial(poles), _polynomial(zeros)
        at = (-1 if discrete else None) if high_pass else (1 if discrete else 0)
        gain = 1 if at is None else _value(denominator, at) / _value(numerator, at)
        numerator = [0] * (order + 1 - len(numerator)) + [gain * c for c in numerator]
        return [float(mpmath.re(c)) for c in numerator], [float(mpmath.re(c)) for c in denominator]


def _polynomial(roots: list) -> list:
    found = [mpmath.mpf(1)]
    for root in roots:
        shifted = [*found, mpmath.mpf(0)]
        for k, c in enumerate(found):
            shifted[k + 1] -= root * c
        found = shifted
    return found


def _value(coefficients: list, at: float):
    total = mpmath.mpf(0)
    for c in coefficients:
        total = total * at + c
    return total


@kind
def resonator(draw: Draw, name: str) -> Case:
    """One or several modes of damping 1e-1 to 1e-12, frequencies from 1e-6 to 1e6."""
    modes, discrete = draw.integer(1, 3), draw.chance(0.4)
    A, B = np.zeros((2 * modes, 2 * modes)), np.zeros((2 * modes, 1))
    base = 1.0 if discrete else draw.power(-6, 6)
    for mode in range(modes):
        place = slice(2 * mode, 2 * mode + 2)
        zeta, w = draw.power(-12, -1), base * draw.uniform(0.5, 3)
        if discrete:
            cosine, sine = circle(w)
            A[place, place] = (1 - zeta) * np.array([[cosine, sine], [-sine, cosine]])
            B[2 * mode] = draw.normal(1)
        else:
            A[place, place] = [[0.0, 1.0], [-w * w, -2 * zeta * w]]
            B[2 * mode + 1] = w * w
    C = np.zeros((1, 2 * modes))
    C[0, ::2] = draw.normal(modes)
    return dense_case(name, discrete, A, B, C, feedthrough(draw, 1, 1))


@kind
def all_pass(draw: Draw, name: str) -> Case:
    """Peaks everywhere: one constant modulus at every frequency, or the peak at infinity."""
    size = draw.integer(1, 5)
    a = np.array([draw.power(-2, 1) for _ in range(size)])
    # A chain of (s - a) / (s + a): states x_i' = -a_i x_i + u_i, y_i = u_i - 2 a_i x_i.
    A, B, C, D = np.zeros((size, size)), np.zeros((size, 1)), np.zeros((1, size)), 1.0
    for i in range(size):
        A[i, i], B[i, 0] = -a[i], 1.0
        for j in range(i):
            A[i, j] = -2 * a[j]
        C[0, i] = -2 * a[i]
    if draw.chance(0.4):  # s / (s + a): rises to its norm at infinity
        A, B, C = np.diag(-a[:1]), np.array([[1.0]]), np.array([[-a[0]]])
    return dense_case(name, False, A, B, C, [[D * draw.power(-3, 3) if draw.chance(0.1) else D]])
