"""Peak-to-peak gain: the largest output of an input that never exceeds 1, over all time.

It is the l1 norm of the impulse response: of an output, the sum over inputs of sum_t |h_t|, in
continuous time of |D| and the integral of |h(t)|; of a system, the largest over its outputs. What
is summed is enclosed, with rounding, and what is left out bounded by the decay of the state
(Dahleh & Diaz-Bobillo 1995, Control of Uncertain Systems, section 2.3).

Continuous time is cut into cells of length d. With I the integral of h over a cell, that of |h| is
abs(I) where h keeps its sign, and at most d^2 / 2 times the largest |h'| where it vanishes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from ssmbench.analysis.ball.exponential import exponential
from ssmbench.analysis.decay import decay
from ssmbench.analysis.interval import INFINITE, UNPROVED, Interval
from ssmbench.analysis.scaling import FirstOrder
from ssmbench.analysis.stability import array, locate_poles
from ssmbench.linalg.precision import EPS
from ssmbench.systems import DiscreteSystem

#: Steps or cells that are summed at once, and the most of them.
_CHUNK, _LONGEST = 1024, 400_000
#: Entries of the states of a chunk, and multiplications that one system may take.
_ENTRIES, _WORK = 2e6, 4e9
#: The tail is left out where it is such a share of the sum.
_NEGLIGIBLE = 1e-7
#: ||A|| times the length of a cell.
_SHORT = 2.0**-8
#: Covers the rounding of sums.
_SLACK = 1 + 1e-9
#: How much slower than the slowest mode the tail of a dense system is bounded.
_TAIL_SLACK = 0.05


@dataclass(frozen=True)
class PeakToPeak:
    """The norm enclosed, the output (of one system) for which it is largest, the steps that were
    summed, and in continuous time the length of a step, else 1."""

    norm: Interval
    output: int
    steps: int
    unit: float


@dataclass(frozen=True)
class _Stepped:
    """A step of the motion, exactly ``step`` x up to ``error`` ||x||, which covers the rounding of
    that product; and the outputs of a step, ``read`` x up to ``read_error`` ||x||. It begins with
    the states ``start`` (N, m), one for each input. ``total`` bounds
    sum_k ||step^k||; ``slope`` ||x|| bounds d^2 / 2 |h'| during a step."""

    step: np.ndarray
    error: float
    start: np.ndarray
    read: np.ndarray
    read_error: np.ndarray
    total: float
    slope: np.ndarray
    unit: float


@np.errstate(all="ignore")
def peak_to_peak(system: FirstOrder) -> PeakToPeak:
    """The l1 norm of one system (H = 1, double precision), enclosed.

    Returns:
        infinite for an unstable system; an interval without an upper end where stability or the
        tail cannot be proved.
    """
    dense = system.to_dense()
    A, B, C, D = (array(matrix) for matrix in (dense.A, dense.B, dense.C, dense.D))
    direct = abs(D).sum(1)
    if not (system.states and B.any() and C.any()):
        return _result(direct, np.zeros_like(direct), 0, 1.0)
    poles = locate_poles(system)
    if poles.stable is False:
        return PeakToPeak(INFINITE, 0, 0, 1.0)
    if not poles.stable:
        return PeakToPeak(UNPROVED, 0, 0, 1.0)
    discrete = isinstance(system, DiscreteSystem)
    kept = decay(system, _TAIL_SLACK)
    made = _discrete if discrete else _continuous
    stepped = made(A, B, C, kept.rate, kept.overshoot)
    sums, errors, steps = _summed(stepped)
    return _result(direct + sums, errors, steps, stepped.unit)


def _result(sums: np.ndarray, errors: np.ndarray, steps: int, unit: float) -> PeakToPeak:
    """``errors`` has the parts by which each output's sum may be too large, and too small."""
    below, above = (errors, errors) if errors.ndim == 1 else (errors[0], errors[1])
    rounding = 8 * (steps + 64) * EPS
    lower = float((sums * (1 - rounding) - below).max())
    upper = float((sums * (1 + rounding) + above).max())
    upper = upper if math.isfinite(upper) else math.inf
    lower = max(lower, 0.0) if math.isfinite(lower) else 0.0
    return PeakToPeak(Interval(lower, upper), int(sums.argmax()), steps, unit)


def _discrete(A: np.ndarray, B: np.ndarray, C: np.ndarray, rate: float, M: float) -> _Stepped:
    gamma = 4 * (len(A) + 8) * EPS
    total = M / (1 - rate) if rate < 1 else math.inf
    rows = np.linalg.norm(C, axis=1)
    return _Stepped(A, gamma * _norm(A), B, C, gamma * rows, total, 0 * rows, 1.0)


def _continuous(A: np.ndarray, B: np.ndarray, C: np.ndarray, rate: float, M: float) -> _Stepped:
    """Cells, each of which ends in the state at which the next one begins."""
    n, gamma = len(A), 4 * (len(A) + 8) * EPS
    unit = 2.0 ** math.floor(math.log2(_SHORT / max(float(np.linalg.norm(A, 2)), 1e-290)))
    block = np.zeros((2 * n, 2 * n), dtype=A.dtype)
    block[:n, :n], block[:n, n:] = A, np.eye(n)
    whole, errors = exponential(block, unit)  # [e^(A d), the integral of e^(A s) over a cell]
    step, integral = whole[:n, :n], whole[:n, n:]
    rows = np.linalg.norm(C, axis=1)
    read_error = rows * (_norm(errors[:n, n:]) + 2 * gamma * _norm(integral))
    slope = unit**2 / 2 * M * np.linalg.norm(C @ A, axis=1) * (1 + gamma)
    slope += gamma * unit**2 * M * rows * _norm(A)
    factor = math.exp(rate * unit) * (1 + 4 * EPS)
    total = M / (1 - factor) if factor < 1 else math.inf
    error = gamma * _norm(step) + _norm(errors[:n, :n])
    return _Stepped(step, error, B, C @ integral, read_error, total, slope, unit)


def _norm(matrix: np.ndarray) -> float:
    return float(np.linalg.norm(matrix))


def _summed(s: _Stepped) -> tuple[np.ndarray, np.ndarray, int]:
    """Of each output the sum of abs(I), by how much it may be too large and too small (2, p), and
    the number of steps.

    However the states were computed, each differs by a ``defect`` from what the step makes of the
    one before it. Such an error travels on as a state does: it adds at most ``reach`` times its
    size to all outputs that follow, and so does the state at which the sum stops.
    """
    sums = np.zeros(len(s.read))
    errors, reading, excess, steps = 0.0, np.zeros(len(s.read)), np.zeros(len(s.read)), 0
    reach = (np.linalg.norm(s.read, axis=1) + s.read_error) * s.total
    for states, last in _chunks(s):
        sizes = np.linalg.norm(states, axis=1)  # (steps, m)
        after = np.concatenate([states[1:], last[None]])
        defects = np.linalg.norm(after - s.step @ states, axis=1)
        outputs = abs(s.read @ states)
        sums += outputs.sum((0, 2))
        excess += _excess(s, sizes, outputs).sum((0, 2))
        errors += s.error * float(sizes.sum()) + float(defects.sum()) * _SLACK
        reading += s.read_error * float(sizes.sum())
        steps += len(states)
        size = np.linalg.norm(last, axis=0).sum()
        tail = reach * size + s.slope * s.total * size
        if (tail <= _NEGLIGIBLE * (sums.max() + 1e-290)).all():
            break
    rounding = (reach + s.slope * s.total) * errors + reading
    return sums, np.stack([rounding, rounding + excess + tail]), steps


def _excess(s: _Stepped, sizes: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """By how much the integral of |h| may exceed abs(I) in each cell, (steps, p, m).

    A complex h need not vanish to change its phase: |h - I / d| <= d max |h'|, so that 2 / 3 of
    ``slope`` is added in every cell.
    """
    slope = s.slope[None, :, None] * sizes[:, None, :]
    is_real = not any(np.iscomplexobj(matrix) for matrix in (s.step, s.start, s.read))
    return np.maximum(slope - outputs, 0) if is_real else slope


def _chunks(s: _Stepped) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Chunk after chunk the states (steps, N, m), by doubling, and the state that follows."""
    n, m = s.start.shape
    longest = int(min(_LONGEST, max(_WORK / (n * n * m), _CHUNK)))
    chunk = 2 ** int(math.log2(min(_CHUNK, max(_ENTRIES / (n * m), 8))))
    powers = [s.step]
    while 2 ** len(powers) <= chunk:
        powers.append(powers[-1] @ powers[-1])
    x = s.start.astype(np.result_type(s.step, s.start))
    for _ in range(0, longest, chunk):
        states = x[None]
        for power in powers[:-1]:
            states = np.concatenate([states, power @ states])
        x = powers[-1] @ x
        yield states, x


# --- what is observed ---------------------------------------------------------------------------


def worst_peak(system: FirstOrder, found: PeakToPeak, most: int = 4096) -> float:
    """The largest output that an input of signs reaches at the last of its steps, simulated.

    The input is the sign of the impulse response read backwards, constant during a step.
    """
    dense = system.to_dense()
    A, B, C, D = (array(matrix) for matrix in (dense.A, dense.B, dense.C, dense.D))
    row, direct = C[found.output], D[found.output]
    steps = min(found.steps, most)
    if not isinstance(system, DiscreteSystem):
        n, m = B.shape
        block = np.zeros((n + m, n + m), dtype=np.result_type(A, B))
        block[:n, :n], block[:n, n:] = A, B
        whole = scipy.linalg.expm(block * found.unit * math.ceil(found.steps / most))
        A, B = whole[:n, :n], whole[:n, n:]
    responses, x = np.empty((steps, B.shape[1]), dtype=np.result_type(A, B, C)), B
    for k in range(steps):
        responses[k] = row @ x
        x = A @ x
    state = np.zeros(len(A), dtype=responses.dtype)
    for response in responses[::-1]:
        state = A @ state + B @ _sign(response)
    return float(abs(row @ state + direct @ _sign(direct)))


def _sign(values: np.ndarray) -> np.ndarray:
    """conj(z) / |z|, and 0 of 0."""
    sizes = abs(values)
    return np.where(sizes > 0, values.conj() / np.where(sizes > 0, sizes, 1), 0)
