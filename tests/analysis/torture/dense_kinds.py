"""Dense systems: badly scaled, badly conditioned, near the boundary."""

from __future__ import annotations

import numpy as np

from tests.analysis.torture.case import Case, dense_case
from tests.analysis.torture.draw import Draw, power_of_ten, reflection, similar
from tests.analysis.torture.parts import (
    a_size,
    block_diagonal,
    channels,
    feedthrough,
    kind,
    ordinary,
    sheared,
    some_gaps,
    with_channels,
)


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
    return with_channels(draw, name, False, block_diagonal(draw, size, False, gaps, False))


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


@kind
def extreme_dynamics(draw: Draw, name: str) -> Case:
    """A itself near the ends of what a double can hold."""
    case = ordinary(draw, name)
    A, B, C = case.A[0], case.B[0], case.C[0]
    if case.discrete:  # far inside the circle, or far outside
        unit = draw.choice((1e-160, 1e-300, 1e-310, 1e-320, 1e160, 1e290))
        return dense_case(name, True, A * unit, B, C, case.D[0])
    unit = draw.choice((1e-100, 1e-200, 1e-290, 1e-305, 1e100, 1e200, 1e290))
    return dense_case(name, False, A * unit, B * unit, C, case.D[0])


@kind
def repeated_near_the_boundary(draw: Draw, name: str) -> Case:
    """One pole several times, 1e-2 to 1e-8 from the boundary: gains up to 1e32."""
    size, discrete = draw.integer(2, 4), draw.chance(0.5)
    gap = draw.power(-8, -2)
    pole = draw.sign() * (1 - gap) if discrete else -gap
    A = np.diag([pole] * size) + np.diag([draw.choice((1.0, gap, 1e-3))] * (size - 1), 1)
    return with_channels(draw, name, discrete, A, mix=draw.chance(0.3))


@kind
def no_transfer(draw: Draw, name: str) -> Case:
    """Driven states that are not seen and seen ones that are not driven: G is D, or nearly so."""
    case, other = ordinary(draw, name), ordinary(draw, name)
    one = case.A[0]
    two = block_diagonal(draw, len(other.A[0]), case.discrete, some_gaps(draw, 8), complex_=False)
    n, size = len(one), len(one) + len(two)
    A = np.zeros((size, size), dtype=one.dtype)
    A[:n, :n], A[n:, n:] = one, two
    inputs, outputs = channels(draw)
    B, C = np.zeros((size, inputs)), np.zeros((outputs, size))
    B[:n], C[:, n:] = draw.normal(n, inputs), draw.normal(outputs, size - n)
    if draw.chance(0.5):
        A[:n, n:] = draw.normal(n, size - n)  # seen states drive the driven ones
    if draw.chance(0.6):
        H = reflection(draw, size)
        A, B, C = similar(A, B, C, H, H)
    return dense_case(name, case.discrete, A, B, C, feedthrough(draw, inputs, outputs))
