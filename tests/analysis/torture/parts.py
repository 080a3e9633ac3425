"""What the kinds of difficult system are made of, and their registry."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.analysis.torture.case import Case, dense_case
from tests.analysis.torture.draw import Draw, circle, reflection, shears, similar

#: A kind is a function of (draw, name). One that is added with ``@kind`` is in the tool and in the
#: tests; compute what is to be kept by ``python tools/torture.py --keep``.
KINDS: dict[str, Callable[[Draw, str], Case]] = {}


def kind(function: Callable[[Draw, str], Case]) -> Callable[[Draw, str], Case]:
    KINDS[function.__name__] = function
    return function


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
