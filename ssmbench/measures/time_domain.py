"""Measures in the time domain: peak-to-peak gain, H2 norm, decay, delay margin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from ssmbench.analysis import ball
from ssmbench.analysis.decay import decay, worst_motion
from ssmbench.analysis.delay_margin import destabilising_delay, margin_of, matrices_of
from ssmbench.analysis.interval import Interval
from ssmbench.analysis.peak_to_peak import peak_to_peak, worst_peak
from ssmbench.analysis.proofs import prove
from ssmbench.analysis.scaling import FirstOrder
from ssmbench.analysis.stability import LARGEST_IN_BALLS, array, locate_poles
from ssmbench.measures.base import Finding, Measure
from ssmbench.options import POSITIVE, PROPER_FRACTION, Allowed, option
from ssmbench.registry import NoOptions, measures
from ssmbench.systems import DiscreteSystem, LinearSystem

_UP_TO_1024 = (POSITIVE, Allowed("at most 1024", lambda v: v <= 1024))


@measures.register(
    "peak_to_peak",
    citation="Dahleh and Diaz-Bobillo 1995, Control of Uncertain Systems, section 2.3",
)
class PeakToPeakGain(Measure):
    """Largest output of an input that never exceeds 1: the l1 norm of the impulse response.

    Proved by summing with rounding errors and a bound on the tail; attacked by the signs of the
    impulse response, read backwards.
    """

    def __init__(self, config: NoOptions):
        super().__init__(config)

    def unit(self, system: LinearSystem) -> str:
        return ""

    def prove(self, system: FirstOrder) -> Finding:
        found = peak_to_peak(system)
        return Finding(found.norm, found, details={"steps": float(found.steps)})

    def attack(self, system: FirstOrder, found: Finding) -> float:
        return math.nan if found.proved.is_infinite else worst_peak(system, found.witness)


@measures.register("h2", citation="Zhou, Doyle and Glover 1996, section 4.7")
class H2(Measure):
    """Root of the energy of the impulse response, summed over inputs and outputs.

    Proved as in `ssmbench gain`; attacked by an impulse at each input.
    """

    def __init__(self, config: NoOptions):
        super().__init__(config)

    def unit(self, system: LinearSystem) -> str:
        return "" if isinstance(system, DiscreteSystem) else "per root of the unit of time"

    def prove(self, system: FirstOrder) -> Finding:
        if system.order > LARGEST_IN_BALLS or not locate_poles(system).stable:
            return Finding(prove(system)[0].h2)
        discrete = isinstance(system, DiscreteSystem)
        return Finding(ball.h2(ball.BallSystem.of(*matrices_of(system), discrete=discrete)))

    def attack(self, system: FirstOrder, found: Finding) -> float:
        if found.proved.is_infinite:
            return math.nan
        A, B, C, D = matrices_of(system)
        if not isinstance(system, DiscreteSystem):
            return math.sqrt(_energy_in_time(A, B, C))
        energy, x = float(np.linalg.norm(D) ** 2), B
        for _ in range(_STEPS):
            energy += float(np.linalg.norm(C @ x) ** 2)
            x = A @ x
        return math.sqrt(energy)


#: Steps over which an impulse response is followed.
_STEPS = 2048


def _energy_in_time(A: np.ndarray, B: np.ndarray, C: np.ndarray) -> float:
    """Energy over some time of x' = A x from B: of each step by Van Loan's exponential (1978)."""
    n = len(A)
    unit = 0.25 / max(float(np.linalg.norm(A, 2)), 1e-290)
    block = np.zeros((2 * n, 2 * n), dtype=np.result_type(A, C))
    block[:n, :n], block[:n, n:], block[n:, n:] = -A.conj().T, C.conj().T @ C, A
    whole = scipy.linalg.expm(block * unit)
    step = whole[n:, n:]
    stage = step.conj().T @ whole[:n, n:]  # the integral of e^(A' t) C' C e^(A t) over a step
    energy, x = 0.0, B
    for _ in range(_STEPS):
        energy += float(np.trace(x.conj().T @ stage @ x).real)
        x = step @ x
    return energy


@dataclass
class DecayConfig:
    """``slack``: how much slower than the slowest mode the proved rate of a dense system is, as a
    share of the distance of that mode to the stability boundary; the less, the larger the
    overshoot."""

    slack: float = option(0.1, (POSITIVE, PROPER_FRACTION))


@measures.register(
    "decay",
    config=DecayConfig,
    citation="Boyd, El Ghaoui, Feron and Balakrishnan 1994, section 5.1",
)
class Decay(Measure):
    """Rate r with ||A^k|| <= M r^k, or ||e^(A t)|| <= M e^(r t), and the overshoot M.

    Proved by a Lyapunov function and norms of powers; attacked by initial states. Norms are those
    of the system's own coordinates.
    """

    value_is_bound = True  # the overshoot belongs to this rate

    def unit(self, system: LinearSystem) -> str:
        return "per sample" if isinstance(system, DiscreteSystem) else "per unit of time"

    def prove(self, system: FirstOrder) -> Finding:
        found = decay(system, self.config.slack)
        upper = found.rate if found.proved else math.inf
        slowest = locate_poles(system).extent.lower
        motion = worst_motion(self._matrix(system), found, discrete=_is_discrete(system))
        reached = motion.overshoot if found.proved else math.nan
        details = {"overshoot": found.overshoot, "overshoot_attacked": reached}
        return Finding(Interval(min(slowest, upper), upper), (found, motion), details=details)

    def joined_details(self, found: Sequence[Finding], worst: int) -> Mapping[str, float]:
        """An overshoot that holds for every system with the rate of all: the largest one. What the
        attack reached counts where its system has that rate."""
        rate = found[worst].proved.upper
        at_rate = [one.details for one in found if one.proved.upper == rate]
        return {
            "overshoot": max(one.details["overshoot"] for one in found),
            "overshoot_attacked": max(one["overshoot_attacked"] for one in at_rate),
        }

    def attack(self, system: FirstOrder, found: Finding) -> float:
        kept, motion = found.witness
        return motion.rate if kept.proved else math.nan

    def scale(self, system: FirstOrder, found: Finding) -> float:
        """Of A: a rate is the real part of its eigenvalues, or their modulus."""
        return float(np.linalg.norm(self._matrix(system), np.inf)) if system.order else 0.0

    def _matrix(self, system: FirstOrder) -> np.ndarray:
        return array(system.to_dense().A)


def _is_discrete(system: LinearSystem) -> bool:
    return isinstance(system, DiscreteSystem)


@dataclass
class DelayMarginConfig:
    """``longest``: delays in samples up to which a discrete system's loop is examined."""

    longest: int = option(64, _UP_TO_1024)


@measures.register(
    "delay_margin",
    config=DelayMarginConfig,
    citation="Walton and Marshall 1987, IEE Proc. D 134:101",
)
class DelayMargin(Measure):
    """Smallest delay that destabilises unity negative feedback around the system.

    Proved by enclosures of poles (discrete time) or of the frequencies of gain 1; attacked by the
    delay itself.
    """

    larger_is_worse = False
    square = True

    def unit(self, system: LinearSystem) -> str:
        return "samples" if isinstance(system, DiscreteSystem) else "units of time"

    def prove(self, system: FirstOrder) -> Finding:
        found = margin_of(system, self.config.longest)
        omega = {"frequency": found.omega} if math.isfinite(found.omega) else {}
        return Finding(found.margin, found, found.note, omega)

    def attack(self, system: FirstOrder, found: Finding) -> float:
        return destabilising_delay(system, found.witness, self.config.longest)
