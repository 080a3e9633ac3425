"""The smallest delay that destabilises unity negative feedback around a square system."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ssmbench.analysis import ball, dense_proofs
from ssmbench.analysis.ball.delay import closed_loop_is_stable, delay_margin
from ssmbench.analysis.interval import UNPROVED, Interval
from ssmbench.analysis.scaling import FirstOrder
from ssmbench.analysis.stability import LARGEST_IN_BALLS, array, locate_poles
from ssmbench.systems import DiscreteSystem

#: How far above the margin, relatively, a continuous loop is shown to be unstable.
_BEYOND = 1e-6
#: Doublings of the time over which a discrete loop is watched.
_WATCHED = 14
NOT_SEPARATED = "the frequencies of gain 1 could not be told apart"
NO_LOOP = "the loop is unstable without a delay"


@dataclass(frozen=True)
class DelayMargin:
    """The margin enclosed, in samples or units of time; ``omega``: in continuous time where the
    loop begins to oscillate; ``note``: what limits the statement."""

    margin: Interval
    omega: float = math.nan
    note: str = ""


def margin_of(system: FirstOrder, longest: int) -> DelayMargin:
    """The delay margin of the loop u = -y, delayed, around one system (H = 1, double precision).

    Args:
        system: with as many outputs as inputs.
        longest: delays, in samples, up to which a discrete loop is examined.

    Returns:
        discrete: the smallest whole number of samples d, at least 1, for which u[k] = -y[k - d] is
        not stable; it lies between the first that was not proved stable, and the first that was
        proved unstable. Infinite where the gain is proved to be below 1 (small-gain theorem).
    """
    poles = locate_poles(system)
    if not poles.stable:
        unstable = "not examined: the system without feedback is unstable"
        note = unstable if poles.stable is False else "stability is unproved"
        return DelayMargin(Interval(0.0, math.inf), note=note)
    matrices = matrices_of(system)
    discrete = isinstance(system, DiscreteSystem)
    exact = ball.BallSystem.of(*matrices, discrete=discrete)
    small = system.order <= LARGEST_IN_BALLS
    if small and ball.hinf(exact).norm.upper < 1:
        note = "the gain is below 1, so that no delay destabilises the loop"
        return DelayMargin(Interval(math.inf, math.inf), note=note)
    closed = closed_loop_is_stable(exact) if small else None
    if closed is False:
        return DelayMargin(Interval(0.0, 0.0), note=NO_LOOP)
    if closed is None:
        return DelayMargin(Interval(0.0, math.inf), note="stability without a delay is unproved")
    if discrete:
        return _in_samples(matrices, longest)
    if system.inputs > 1 or not exact.real:
        note = "continuous systems of several or complex channels: only the small-gain theorem"
        return DelayMargin(Interval(0.0, math.inf), note=note)
    margin, omega = delay_margin(exact)
    note = NOT_SEPARATED if margin == UNPROVED else ""
    return DelayMargin(margin, omega, note)


def matrices_of(system: FirstOrder) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A, B, C and D of the first head as dense numpy arrays."""
    dense = system.to_dense()
    return array(dense.A), array(dense.B), array(dense.C), array(dense.D)


def delayed_loop(A: np.ndarray, B: np.ndarray, C: np.ndarray, D: np.ndarray, d: int) -> np.ndarray:
    """The state matrix of u[k] = -y[k - d], d >= 1, with the states x[k], y[k-1], .., y[k-d]."""
    n, p = len(A), len(D)
    loop = np.zeros((n + d * p, n + d * p), dtype=np.result_type(A, B, C, D))
    loop[:n, :n], loop[:n, n + (d - 1) * p :] = A, -B
    loop[n : n + p, :n], loop[n : n + p, n + (d - 1) * p :] = C, -D
    loop[n + p :, n : n + (d - 1) * p] = np.eye((d - 1) * p)
    return loop


def _in_samples(
    matrices: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], longest: int
) -> DelayMargin:
    first_open = None
    for d in range(1, longest + 1):
        stable = _is_stable(delayed_loop(*matrices, d))
        if stable is False:
            return DelayMargin(Interval(float(first_open or d), float(d)))
        if stable is None and first_open is None:
            first_open = d
    stable_to = first_open or longest + 1
    return DelayMargin(
        Interval(float(stable_to), math.inf), note=f"delays beyond {longest} were not examined"
    )


def _is_stable(A: np.ndarray) -> bool | None:
    found = dense_proofs.enclose_extent(A, discrete=True)
    if found.upper < 1:
        return True
    if found.lower >= 1:
        return False
    if len(A) > LARGEST_IN_BALLS:
        return None
    nothing = np.zeros((len(A), 0)), np.zeros((0, len(A))), np.zeros((0, 0))
    return ball.poles(ball.BallSystem.of(A, *nothing, discrete=True)).stable


# --- what is observed ---------------------------------------------------------------------------


def destabilising_delay(system: FirstOrder, found: DelayMargin, longest: int) -> float:
    """A delay with which the loop was seen to be unstable; infinite where none was found."""
    if found.margin.upper == 0:
        return 0.0
    if math.isinf(found.margin.lower):
        return math.inf
    if not isinstance(system, DiscreteSystem):
        return _unstable_root(system, found)
    delays = range(max(int(found.margin.lower), 1), longest + 1)
    matrices = matrices_of(system)
    grows = (d for d in delays if _grows(delayed_loop(*matrices, d)))
    return float(next(grows, math.inf))


@np.errstate(all="ignore")
def _grows(A: np.ndarray) -> bool:
    """Whether a state is larger after many steps than it was, whichever state it is."""
    power = A
    for _ in range(_WATCHED):
        power = power @ power
        if not np.isfinite(power).all():
            return True
    return float(np.linalg.norm(power, 2)) > 1


def _unstable_root(system: FirstOrder, found: DelayMargin) -> float:
    """A delay just above the margin, if 1 + e^(-s delay) G(s) has a root with Re s > 0 for it."""
    if not math.isfinite(found.margin.upper):
        return math.inf
    A, B, C, D = matrices_of(system)
    delay = found.margin.upper * (1 + _BEYOND)
    s, eye = 1j * found.omega, np.eye(len(A))
    for _ in range(50):
        x = np.linalg.solve(s * eye - A, B)
        G = (C @ x + D)[0, 0]
        slope = -(C @ np.linalg.solve(s * eye - A, x))[0, 0]
        value = 1 + np.exp(-s * delay) * G
        s -= value / (np.exp(-s * delay) * (slope - delay * G))
    close = abs(value) < 1e-9
    return delay if close and s.real > 0 else math.inf
