"""Figures of larger, well-conditioned systems by slycot and SciPy, the peak checked by mpmath."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import slycot
from mpmath import mp

from tests.analysis.torture.case import Case
from tests.analysis.torture.exact import gain_at, heads
from tests.analysis.torture.oracle import Figures, NoAnswer

#: slycot's norm, as a relative error that all of these systems keep.
TOLERANCE = 1e-9


def figures_by_slycot(case: Case) -> Figures:
    """The truth about one real dense copy."""
    A, B, C, D = (array[0] for array in case.arrays())
    poles = np.linalg.eigvals(A)
    extent = abs(poles).max() if case.discrete else poles.real.max()
    margin = 1 - extent if case.discrete else -extent
    hinf, peak = slycot.ab13dd(
        "D" if case.discrete else "C", "I", "N", "D",
        len(A), B.shape[1], C.shape[0], A, np.eye(len(A)), B, C, D, TOLERANCE / 10,
    )  # fmt: skip
    _check_by_mpmath(case, hinf, peak)
    figures = (margin, extent, abs(poles).max(), hinf, _h2(case.discrete, A, B, C, D))
    return Figures(*(mp.mpf(float(x)) for x in figures))


def _h2(discrete: bool, A, B, C, D) -> float:
    if not discrete and D.any():
        return np.inf
    solve = scipy.linalg.solve_discrete_lyapunov if discrete else _continuous_gramian
    energy = np.trace(C @ solve(A, B @ B.T) @ C.T)
    return np.sqrt(energy + ((D**2).sum() if discrete else 0.0))


def _continuous_gramian(A, Q):
    return scipy.linalg.solve_continuous_lyapunov(A, -Q)


def _check_by_mpmath(case: Case, hinf: float, peak: float) -> None:
    with mp.workdps(40):
        (system,) = heads(case)
        point = mp.expj(peak) if case.discrete else mp.mpc(0, peak)
        if not np.isinf(peak) and abs(gain_at(system, point) / hinf - 1) > TOLERANCE:
            raise NoAnswer("slycot's peak is not where it says")
