"""Diagonal banks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.analysis.torture.case import Case
from tests.analysis.torture.draw import Draw, product
from tests.analysis.torture.parts import a_pole, channels, kind


def bank(
    draw: Draw, name: str, discrete: bool, gaps: Callable[[], float], unit: float = 1.0
) -> Case:
    """A bank of 1 to 3 heads with poles at the given distances from the boundary."""
    heads, size = draw.integer(1, 3), draw.choice((1, 2, 3, 4, 4, 6, 8))
    conjugate = draw.chance(0.6)
    if conjugate:
        size = (size + 1) // 2
    inputs, outputs = channels(draw)
    real = not conjugate and draw.chance(0.4)
    lam = np.empty((heads, size), dtype=complex)
    for place in np.ndindex(heads, size):
        gap = gaps()
        re, im = a_pole(draw, discrete, gap)
        if real:
            re, im = (draw.sign() * (1 - gap) if discrete else -gap), 0.0
        lam[place] = complex(re * unit, im * unit)
    lam = lam.real.copy() if real else lam
    B = draw.normal(heads, size, inputs, complex_=not real) * unit
    C = draw.normal(heads, outputs, size, complex_=not real)
    D = draw.normal(heads, outputs, inputs) * draw.choice((0.0, 1.0))
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
    """Nearly equal poles with residues 1, -3, 3, -1 and the like: the gain is a small rest."""
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


@kind
def oscillators(draw: Draw, name: str) -> Case:
    """Second-order oscillators: damping from 1e-12 to critical and beyond, in units of time."""
    heads, size, (inputs, outputs) = draw.integer(1, 2), draw.integer(1, 4), channels(draw)
    unit = draw.power(-15, 15) if draw.chance(0.4) else 1.0
    a, g = np.empty((heads, size)), np.empty((heads, size))
    for place in np.ndindex(heads, size):
        w = draw.uniform(0.3, 3) * unit
        damping = draw.choice((draw.power(-12, 0), draw.power(-3, 0), 1.0, draw.power(0, 4)))
        a[place], g[place] = w * w, 2 * damping * w
        if draw.chance(0.03):  # an integrator, or an undamped oscillator
            (a if draw.chance(0.5) else g)[place] = 0.0
    B = draw.normal(heads, size, inputs) * unit * unit
    C, C_v = draw.normal(heads, outputs, size), draw.normal(heads, outputs, size) / unit
    D = draw.normal(heads, outputs, inputs) * draw.choice((0.0, 1.0))
    C_v = C_v * draw.choice((0.0, 1.0))
    return Case(name, False, a, B, C, D, oscillator=(g, C_v))
