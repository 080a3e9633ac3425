"""HiPPO: its matrices against formulas and quadrature, its memory against the past it remembers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import eval_laguerre, eval_legendre

from ssmbench.errors import UsageError
from ssmbench.parametrizations.hippo import (
    Measure,
    Memory,
    basis,
    density,
    legt_lmu,
    matrices,
    normal_plus_low_rank,
    rank,
)

MEASURES = list(Measure)
ROOT2 = math.sqrt(2)


def phi(measure: Measure, n: int, s: float) -> float:
    """phi_n(s) as textbooks write it, independently of the package."""
    if measure is Measure.lagt:
        return eval_laguerre(n, s)
    if measure is Measure.fout:
        wave = math.cos if n % 2 else math.sin
        return 1.0 if n == 0 else ROOT2 * wave(2 * math.pi * ((n + 1) // 2) * s)
    return math.sqrt(2 * n + 1) * eval_legendre(n, 1 - 2 * s)


def weighted(measure: Measure, integrand) -> float:
    if measure is Measure.lagt:
        return quad(lambda s: integrand(s) * math.exp(-s), 0, 80, epsabs=1e-11, limit=400)[0]
    return quad(integrand, 0, 1, epsabs=1e-11, limit=200)[0]


# --- matrices -----------------------------------------------------------------------------------


def test_small_matrices_are_the_papers():
    r3, r5, r15 = math.sqrt(3), math.sqrt(5), math.sqrt(15)
    A, B = matrices(Measure.legs, 3)
    np.testing.assert_allclose(A, [[-1, 0, 0], [-r3, -2, 0], [-r5, -r15, -3]])
    np.testing.assert_allclose(B, [1, r3, r5])
    A, B = legt_lmu(3)
    np.testing.assert_allclose(A, [[-1, -1, -1], [3, -3, -3], [-5, 5, -5]], atol=1e-14)
    np.testing.assert_allclose(B, [1, -3, 5])
    A, B = matrices(Measure.lagt, 3)
    np.testing.assert_allclose(A, [[-1, 0, 0], [-1, -1, 0], [-1, -1, -1]])
    np.testing.assert_allclose(B, [1, 1, 1])
    A, B = matrices(Measure.fout, 3)
    tau = 2 * math.pi
    np.testing.assert_allclose(A, [[-2, -2 * ROOT2, 0], [-2 * ROOT2, -4, -tau], [0, tau, 0]])
    np.testing.assert_allclose(B, [2, 2 * ROOT2, 0])


@pytest.mark.parametrize("n", [1, 8])
def test_legs_is_equation_2_of_s4(n):
    expected = np.zeros((n, n))
    for i in range(n):
        for j in range(i):
            expected[i, j] = -math.sqrt((2 * i + 1) * (2 * j + 1))
        expected[i, i] = -(i + 1)
    np.testing.assert_allclose(matrices(Measure.legs, n)[0], expected)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_window_scales_time(measure):
    A, B = matrices(measure, 5)
    slow_A, slow_B = matrices(measure, 5, window=4.0)
    np.testing.assert_allclose(slow_A, A / 4)
    np.testing.assert_allclose(slow_B, B / 4)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("n", [1, 9, 65])
def test_every_matrix_is_stable(measure, n):
    """Re x* A x <= 0 for every x, and no eigenvalue on the axis."""
    A, _ = matrices(measure, n)
    assert np.linalg.eigvalsh(A + A.T).max() <= 1e-9 * n**2
    # Eigenvalues of large LegS matrices are lost to rounding: those of small ones are not.
    assert n > 9 or np.linalg.eigvals(A).real.max() < -0.1


@pytest.mark.parametrize("measure", MEASURES)
def test_basis_is_orthonormal_under_its_measure(measure):
    n = 5
    for i in range(n):
        for j in range(i + 1):
            product = weighted(measure, lambda s, i=i, j=j: phi(measure, i, s) * phi(measure, j, s))
            assert product == pytest.approx(float(i == j), abs=1e-8)
    s = np.linspace(0, 1, 7)
    expected = [[phi(measure, k, x) for k in range(n)] for x in s]
    np.testing.assert_allclose(basis(measure, n, s), expected, atol=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_density_is_the_weight(measure):
    s = np.array([-0.5, 0.25, 0.75, 2.0])
    expected = [0, *np.exp(-s[1:])] if measure is Measure.lagt else [0, 1, 1, 0]
    np.testing.assert_allclose(density(measure, s), expected)


# --- the ODE is the projection ------------------------------------------------------------------


def wave(t):
    return np.sin(3 * t + 1) + 0.4 * np.cos(8 * t)


def cubic(t):
    return 1 + t - 0.3 * t**2 + 0.05 * t**3


def pulse(t):
    """Nothing before about t = 1, so a past that begins at zero is no jump."""
    return np.exp(-(((t - 5) / 1.2) ** 2))


def periodic(t):
    return 0.5 + np.cos(2 * math.pi * t + 0.3) - 0.7 * np.sin(4 * math.pi * t)


# Signals for which the ODE is exact: LegT guesses f(t - window) from a polynomial of its degree,
# FouT from a function that repeats.
EXACT = [
    (Measure.legs, None, wave, 2.0, 1.0),
    (Measure.legt, 0.5, cubic, 5.0, 0.5),
    (Measure.lagt, 0.7, pulse, 8.0, 0.7),
    (Measure.fout, 1.0, periodic, 12.0, 1.0),
]


@pytest.mark.parametrize(("measure", "window", "f", "end", "unit"), EXACT)
def test_the_state_is_the_projection_of_the_past(measure, window, f, end, unit):
    n, steps = 5, 16_000
    found = Memory(measure, n, window).project(f(np.linspace(0, end, steps + 1)), end / steps)
    unit = end if window is None else unit
    expected = [
        weighted(measure, lambda s, k=k: f(end - unit * s) * phi(measure, k, s)) for k in range(n)
    ]
    np.testing.assert_allclose(found, expected, atol=3e-5)


def test_the_time_invariant_legs_remembers_warped_ages():
    """S4's form: s = 1 - exp(-age / window), so ages count by exp(-age / window)."""
    n, end, window = 5, 9.0, 0.6
    samples = pulse(np.linspace(0, end, 6001))
    found = Memory(Measure.legs, n, window).project(samples, end / 6000)

    def integrand(age, k):
        warped = 1 - math.exp(-age / window)
        return pulse(end - age) * phi(Measure.legs, k, warped) * math.exp(-age / window) / window

    expected = [quad(integrand, 0, 30 * window, args=(k,), limit=200)[0] for k in range(n)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def errors(measure, window, f, end, sizes, steps=3000):
    """Root mean square error of the remembered past, under the measure, by size."""
    samples, dt = f(np.linspace(0, end, steps + 1)), end / steps
    farthest = {(Measure.lagt, 1.0): 6.0, (Measure.legs, 1.0): 4.0}.get((measure, window))
    age = np.linspace(0, farthest or window or end, 600)
    fades = (measure in (Measure.legs, Measure.lagt)) and window is not None
    weight = np.exp(-age / window) if fades else np.ones_like(age)
    found = []
    for n in sizes:
        memory = Memory(measure, n, window)
        remembered = memory.reconstruct(memory.project(samples, dt), age, end)
        found.append(math.sqrt(np.average((remembered - f(end - age)) ** 2, weights=weight)))
    return found


@pytest.mark.parametrize(
    ("measure", "window", "f", "end", "falls_to"),
    [
        (Measure.legs, None, wave, 2.0, 2e-4),
        (Measure.legs, 1.0, pulse, 7.0, 5e-2),
        (Measure.legt, 1.0, wave, 3.0, 2e-4),
        (Measure.lagt, 1.0, pulse, 6.5, 0.1),
        (Measure.fout, 1.0, wave, 6.0, 0.5),  # a jump in a Fourier series: order 1/2, no better
    ],
)
def test_more_states_remember_better(measure, window, f, end, falls_to):
    found = errors(measure, window, f, end, (3, 5, 9, 17))
    assert all(b < a for a, b in itertools.pairwise(found)), found
    assert found[-1] < falls_to * found[0], found


# --- normal plus low rank -----------------------------------------------------------------------


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("n", [1, 3, 9, 65])
def test_normal_plus_low_rank_gives_the_matrix_back(measure, n):
    A, B = matrices(measure, n)
    parts = normal_plus_low_rank(measure, n)
    V, lam, P = parts.V, parts.lam, parts.P
    np.testing.assert_allclose(V.conj().T @ V, np.eye(n), atol=1e-12)
    found = V @ (np.diag(lam) - P @ P.conj().T) @ V.conj().T
    np.testing.assert_allclose(found, A, atol=1e-12 * n**2)
    np.testing.assert_allclose(V @ parts.B, B, atol=1e-12 * n)
    assert P.shape == (n, rank(measure))
    assert np.linalg.matrix_rank(P) == min(n, rank(measure))


@pytest.mark.parametrize("measure", MEASURES)
def test_no_smaller_rank_would_do(measure):
    """A + A' has rank(measure) eigenvalues below its repeated one: what P has to take away."""
    A, _ = matrices(measure, 9)
    spectrum = np.linalg.eigvalsh(A + A.T)
    assert (spectrum < spectrum[-1] - 1e-6).sum() == rank(measure)


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: matrices(Measure.legs, 0), "positive number of states"),
        (lambda: matrices(Measure.legt, 4, window=0.0), "window must be positive"),
        (lambda: matrices(Measure.fout, 4), "odd number of states, got 4"),
        (lambda: Memory(Measure.legt, 4, None), "legt needs a window"),
    ],
)
def test_impossible_requests_are_refused(call, says):
    with pytest.raises(UsageError, match=says):
        call()
