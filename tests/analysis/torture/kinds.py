"""The kinds of difficult system, each drawn from a seed.

A kind is a function of (draw, name) in ``KINDS``; adding one here adds it to the tool, to the kept
values (run ``python tools/torture.py --keep``) and to the tests.
"""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np

from tests.analysis.torture.case import Case, dense_case
from tests.analysis.torture.draw import (
    PRECISION,
    Draw,
    circle,
    power_of_ten,
    product,
    reflection,
    shears,
    similar,
)

KINDS: dict[str, Callable[[Draw, str], Case]] = {}


def kind(function: Callable[[Draw, str], Case]) -> Callable[[Draw, str], Case]:
    KINDS[function.__name__] = function
    return function


# --- what kinds are made of ---------------------------------------------------------------------


def a_size(draw: Draw) -> int:
    return draw.choice((1, 2, 2, 3, 3, 4, 4, 5, 6, 7, 8))


def channels(draw: Draw) -> tuple[int, int]:
    """Inputs and outputs: mostly one each."""
    if draw.chance(0.65):
        return 1, 1
    return draw.integer(1, 3), draw.integer(1, 3)


def a_pole(draw: Draw, discrete: bool, gap: float) -> tuple[float, float]:
    """Real and imaginary part of a pole that lies ``gap`` inside the boundary."""
    if discrete:
        cosine, sine = circle(draw.uniform(0, 3.14159))
        return (1 - gap) * cosine, (1 - gap) * sine
    return -gap, draw.uniform(-3, 3)


def block_diagonal(draw: Draw, size: int, discrete: bool, gaps: list[float], complex_: bool):
    """A with the wanted distances to the boundary: pairs as 2 x 2 blocks, or complex poles."""
    if complex_:
        poles = [a_pole(draw, discrete, gap) for gap in gaps[:size]]
        return np.diag([complex(re, draw.sign() * im) for re, im in poles])
    A, row = np.zeros((size, size)), 0
    while row < size:
        gap = gaps[row]
        if row + 1 < size and draw.chance(0.6):
            re, im = a_pole(draw, discrete, gap)
            A[row : row + 2, row : row + 2] = [[re, im], [-im, re]]
            row += 2
        else:
            A[row, row] = draw.sign() * (1 - gap) if discrete else -gap
            row += 1
    return A


def some_gaps(draw: Draw, size: int, low: float = -3.0, high: float = -0.1) -> list[float]:
    return [draw.power(low, high) for _ in range(size)]


def feedthrough(draw: Draw, inputs: int, outputs: int, complex_: bool = False) -> np.ndarray:
    return draw.normal(outputs, inputs, complex_=complex_) * draw.choice((0.0, 0.0, 1.0, 10.0))


def with_channels(
    draw: Draw, name: str, discrete: bool, A: np.ndarray, mix: bool = True, **flags
) -> Case:
    """Random B, C and D around A, in coordinates rotated by two reflections."""
    size, complex_ = len(A), np.iscomplexobj(A)
    inputs, outputs = channels(draw)
    B, C = draw.normal(size, inputs, complex_=complex_), draw.normal(outputs, size)
    if mix and size > 1:
        for _ in range(2):
            H = reflection(draw, size)
            A, B, C = similar(A, B, C, H, H)
    D = feedthrough(draw, inputs, outputs, complex_)
    return dense_case(name, discrete, A, B, C, D, **flags)


def sheared(draw: Draw, case: Case, count: int, low: float, high: float) -> Case:
    """The case in ill-conditioned coordinates."""
    A, B, C = case.A[0], case.B[0], case.C[0]
    T, inverse = shears(draw, len(A), count, low, high)
    return dense_case(case.name, case.discrete, *similar(A, B, C, T, inverse), case.D[0])


def ordinary(draw: Draw, name: str, low: float = -3.0) -> Case:
    size, discrete = a_size(draw), draw.chance(0.5)
    gaps = some_gaps(draw, size, low)
    A = block_diagonal(draw, size, discrete, gaps, complex_=draw.chance(0.25))
    return with_channels(draw, name, discrete, A)


# --- dense kinds --------------------------------------------------------------------------------


@kind
def benign(draw: Draw, name: str) -> Case:
    """Nothing difficult: all figures must be proved here."""
    return ordinary(draw, name)


@kind
def non_normal(draw: Draw, name: str) -> Case:
    """Large entries above the diagonal: transients far above what the poles tell."""
    size, discrete = max(2, a_size(draw)), draw.chance(0.5)
    A = np.triu(draw.normal(size, size), 1) * draw.power(0, 7)
    for row, gap in enumerate(some_gaps(draw, size, -2)):
        A[row, row] = draw.sign() * (1 - gap) if discrete else -gap
    return with_channels(draw, name, discrete, A, mix=draw.chance(0.5))


@kind
def clustered(draw: Draw, name: str) -> Case:
    """Poles close to each other, coupled."""
    size, discrete = max(2, a_size(draw)), draw.chance(0.5)
    gap, spread = draw.power(-3, -0.3), draw.power(-10, -1)
    A = np.triu(draw.normal(size, size), 1)
    for row in range(size):
        near = gap * (1 + spread * draw.uniform(-1, 1))
        A[row, row] = 1 - near if discrete else -near
    return with_channels(draw, name, discrete, A, mix=draw.chance(0.7))


@kind
def defective(draw: Draw, name: str) -> Case:
    """Jordan blocks, plain, rotated or sheared; at times nilpotent."""
    size, discrete = max(2, a_size(draw)), draw.chance(0.5)
    gap = 1.0 if discrete and draw.chance(0.15) else draw.power(-2, -0.3)
    pole = draw.sign() * (1 - gap) if discrete else -gap
    A = np.diag([pole] * size) + np.diag([draw.choice((1.0, 1.0, 0.0, 100.0))] * (size - 1), 1)
    case = with_channels(draw, name, discrete, A, mix=draw.chance(0.5))
    return sheared(draw, case, 2, 0, 2) if draw.chance(0.3) else case


@kind
def state_scaling(draw: Draw, name: str) -> Case:
    """States in units that differ by many powers of ten."""
    case = ordinary(draw, name)
    span = draw.choice((3, 8, 20, 60))
    units = np.array([power_of_ten(draw.uniform(-span, span)) for _ in range(len(case.A[0]))])
    A = case.A[0] * units[:, None] / units[None, :]
    B, C = case.B[0] * units[:, None], case.C[0] / units[None, :]
    return dense_case(name, case.discrete, A, B, C, case.D[0])


@kind
def extreme_units(draw: Draw, name: str) -> Case:
    """B and C of 1e150, 1e-150, 1e200, entries near 1e-320."""
    case = ordinary(draw, name)
    b, c = draw.choice(
        ((1e150, 1.0), (1.0, 1e150), (1e150, 1e-150), (1e-150, 1e150), (1e200, 1e-200),
         (1e-150, 1e-150), (1e-150, 1.0), (1e-320, 1.0), (1e-160, 1e-160), (1e150, 1e150),
         (1e-200, 1e-200), (1e160, 1e140), (1e300, 1.0), (1.0, 1e-315))
    )  # fmt: skip
    A, B, C, D = case.A[0], case.B[0] * b, case.C[0] * c, case.D[0] * draw.choice((0.0, 1.0, b))
    if len(A) > 1 and draw.chance(0.3):
        A = A + 1e-320 * np.ones(A.shape)
        A[-1, 0] = 1e-320
    return dense_case(name, case.discrete, A, B, C, D)


@kind
def time_units(draw: Draw, name: str) -> Case:
    """Continuous time, in units from 1e-30 s to 1e30 s."""
    size = a_size(draw)
    gaps = some_gaps(draw, size)
    A = block_diagonal(draw, size, False, gaps, complex_=draw.chance(0.2))
    case = with_channels(draw, name, False, A)
    unit = draw.power(-15, 15) if draw.chance(0.8) else draw.power(-30, 30)
    # A and B in the unit; the gain stays what it was.
    return dense_case(name, False, case.A[0] * unit, case.B[0] * unit, case.C[0], case.D[0])


@kind
def stiff(draw: Draw, name: str) -> Case:
    """Poles that differ by many powers of ten."""
    size = max(2, a_size(draw))
    gaps = [draw.power(-6, 6) for _ in range(size)]
    case = with_channels(draw, name, False, block_diagonal(draw, size, False, gaps, False))
    return case


@kind
def sheared_pair(draw: Draw, name: str) -> Case:
    """0.5 I + s [[1, 1], [-1, -1]] and its like: large entries that cancel in the poles."""
    discrete = draw.chance(0.6)
    pole = draw.uniform(-0.95, 0.95) if discrete else -draw.power(-3, 1)
    s = draw.power(1, 9)
    if draw.chance(0.5):
        s = float(2 ** draw.integer(3, 60))
    A = np.diag([pole, pole]) + s * np.array([[1.0, 1.0], [-1.0, -1.0]])
    if draw.chance(0.5):
        return dense_case(name, discrete, A, np.ones((2, 1)), np.ones((1, 2)), 0)
    return dense_case(name, discrete, A, draw.normal(2, 1), draw.normal(1, 2), 0)


@kind
def ill_conditioned_coordinates(draw: Draw, name: str) -> Case:
    """An ordinary system seen through a nearly singular change of coordinates."""
    strength = draw.choice((1, 2, 3))
    return sheared(draw, ordinary(draw, name, -2.0), draw.integer(1, 4), strength - 1, strength)


@kind
def nearly_on_the_boundary(draw: Draw, name: str) -> Case:
    """The nearest pole 1e-4 to 1e-14 inside or outside."""
    size, discrete = a_size(draw), draw.chance(0.5)
    gaps = some_gaps(draw, size, -1)
    gaps[0] = draw.power(-14, -4) * draw.choice((1.0, 1.0, -1.0))
    A = block_diagonal(draw, size, discrete, gaps, complex_=draw.chance(0.25))
    case = with_channels(draw, name, discrete, A, mix=draw.chance(0.6))
    return sheared(draw, case, 1, 0, 1) if draw.chance(0.2) else case


@kind
def on_the_boundary(draw: Draw, name: str) -> Case:
    """Integrators, alternators and undamped oscillators, exactly; some not seen or not driven."""
    discrete = draw.chance(0.5)
    exact = [[[1.0]], [[-1.0]], [[0.0, 1.0], [-1.0, 0.0]], [[1.0, 1.0], [0.0, 1.0]]]
    integrators = [[[0.0]], [[0.0, 1.0], [0.0, 0.0]], [[0.0, 2.0], [-2.0, 0.0]]]
    block = np.array(draw.choice(exact if discrete else integrators))
    rest = draw.integer(0, 3)
    inner = block_diagonal(draw, rest, discrete, some_gaps(draw, rest, -1), complex_=False)
    size = len(block) + rest
    A = np.zeros((size, size))
    A[: len(block), : len(block)], A[len(block) :, len(block) :] = block, inner
    case = with_channels(draw, name, discrete, A, mix=False)
    B, C = case.B[0].copy(), case.C[0].copy()
    if draw.chance(0.2):
        B[: len(block)] = 0
    elif draw.chance(0.2):
        C[:, : len(block)] = 0
    if draw.chance(0.3):  # coordinates with whole numbers: nothing is rounded
        T, inverse = _whole_shears(draw, size)
        A, B, C = similar(A, B, C, T, inverse)
    return dense_case(name, discrete, A, B, C, case.D[0])


def _whole_shears(draw: Draw, size: int) -> tuple[np.ndarray, np.ndarray]:
    T, inverse = np.eye(size), np.eye(size)
    for _ in range(3 if size > 1 else 0):
        i = draw.integer(0, size - 1)
        j = (i + draw.integer(1, size - 1)) % size
        a = float(draw.integer(-3, 3))
        T[i] = T[i] + a * T[j]
        inverse[:, j] = inverse[:, j] - a * inverse[:, i]
    return T, inverse


@kind
def static_gain(draw: Draw, name: str) -> Case:
    """No states; or states that no input drives or no output sees."""
    discrete, (inputs, outputs) = draw.chance(0.5), channels(draw)
    complex_ = draw.chance(0.2)
    D = draw.normal(outputs, inputs, complex_=complex_) * draw.choice(
        (0.0, 1.0, 1.0, 1e160, 1e-160)
    )
    if draw.chance(0.5):
        return dense_case(
            name, discrete, np.zeros((0, 0)), np.zeros((0, inputs)), np.zeros((outputs, 0)), D
        )
    case = ordinary(draw, name)
    A, size = case.A[0], len(case.A[0])
    B, C = draw.normal(size, inputs), draw.normal(outputs, size)
    if draw.chance(0.5):
        B = 0 * B
    else:
        C = 0 * C
    return dense_case(name, case.discrete, A, B, C, D)


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


@kind
def hidden_modes(draw: Draw, name: str) -> Case:
    """Poles that do not show in the response: not driven, not seen, or cancelled by a zero."""
    case = ordinary(draw, name)
    extra = draw.integer(1, 2)
    gaps = [draw.power(-6, -1) * draw.choice((1.0, 1.0, -1.0)) for _ in range(extra)]
    size = len(case.A[0])
    A = np.zeros((size + extra, size + extra), dtype=case.A.dtype)
    A[:size, :size] = case.A[0]
    A[size:, size:] = block_diagonal(draw, extra, case.discrete, gaps, complex_=False)
    B = np.vstack([case.B[0], draw.normal(extra, case.B.shape[2])])
    C = np.hstack([case.C[0], draw.normal(case.C.shape[1], extra)])
    if draw.chance(0.5):
        B[size:], A[:size, size:] = 0, draw.normal(size, extra)
    else:
        C[:, size:], A[size:, :size] = 0, draw.normal(extra, size)
    if draw.chance(0.5):
        H = reflection(draw, size + extra)
        A, B, C = similar(A, B, C, H, H)
    return dense_case(name, case.discrete, A, B, C, case.D[0])


@kind
def large(draw: Draw, name: str) -> Case:
    """20 to 64 states, well conditioned: slycot judges."""
    size, discrete = draw.integer(20, 64), draw.chance(0.5)
    gaps = some_gaps(draw, size, -2, -0.2)
    A = block_diagonal(draw, size, discrete, gaps, complex_=False)
    return with_channels(draw, name, discrete, A, large=True)


# --- diagonal banks -----------------------------------------------------------------------------


def bank(
    draw: Draw, name: str, discrete: bool, gaps: Callable[[], float], unit: float = 1.0
) -> Case:
    """A bank of 1 to 3 copies with poles at the given distances from the boundary."""
    copies, size = draw.integer(1, 3), draw.choice((1, 2, 3, 4, 4, 6, 8))
    conjugate = draw.chance(0.6)
    if conjugate:
        size = (size + 1) // 2
    inputs, outputs = channels(draw)
    real = not conjugate and draw.chance(0.4)
    lam = np.empty((copies, size), dtype=complex)
    for place in np.ndindex(copies, size):
        gap = gaps()
        re, im = a_pole(draw, discrete, gap)
        if real:
            re, im = (draw.sign() * (1 - gap) if discrete else -gap), 0.0
        lam[place] = complex(re * unit, im * unit)
    lam = lam.real.copy() if real else lam
    B = draw.normal(copies, size, inputs, complex_=not real) * unit
    C = draw.normal(copies, outputs, size, complex_=not real)
    D = draw.normal(copies, outputs, inputs) * draw.choice((0.0, 1.0))
    return Case(name, discrete, lam, B, C, D, conjugate=conjugate)


@kind
def bank_discrete(draw: Draw, name: str) -> Case:
    """Diagonal banks, gaps from 1e-10 to 1."""
    low = draw.choice((-2, -5, -10))
    return bank(draw, name, True, lambda: draw.power(low, -0.05))


@kind
def bank_continuous(draw: Draw, name: str) -> Case:
    """Diagonal banks in units of time from 1e-15 to 1e15."""
    low = draw.choice((-2, -5, -10))
    unit = draw.power(-15, 15) if draw.chance(0.4) else 1.0
    return bank(draw, name, False, lambda: draw.power(low, 1), unit)


@kind
def bank_near_the_boundary(draw: Draw, name: str) -> Case:
    """Poles 1e-4 to 1e-15 inside, at times outside or exactly on the boundary."""
    outside = draw.chance(0.25)

    def gap() -> float:
        size = draw.power(-15, -4)
        return draw.choice((0.0, -size)) if outside and draw.chance(0.3) else size

    return bank(draw, name, draw.chance(0.5), gap)


@kind
def cancelling_residues(draw: Draw, name: str) -> Case:
    """Nearly equal poles with residues 1, -3, 3, -1 and the like: the gain is a small difference."""
    discrete, size = draw.chance(0.6), draw.integer(2, 5)
    binomial = {2: (1, -1), 3: (1, -2, 1), 4: (1, -3, 3, -1), 5: (1, -4, 6, -4, 1)}[size]
    gap = draw.power(-4, -0.5)
    re, im = a_pole(draw, discrete, gap)
    if draw.chance(0.5):
        re, im = (1 - gap if discrete else -gap), 0.0
    spread = draw.power(-7, -1) * gap
    lam = np.array([[complex(re - spread * k / size, im) for k in range(size)]])
    B = np.ones((1, size, 1), dtype=complex)
    C = np.array([[binomial]], dtype=complex)
    if draw.chance(0.3):
        d = product(C[0], B[0]).real
        return Case(name, discrete, lam, B, C, d[None], conjugate=False)
    return Case(name, discrete, lam, B, C, np.zeros((1, 1, 1)), conjugate=draw.chance(0.5))
