"""What is proved of each system of a batch: stability, poles, H-infinity and H2 norm.

Diagonal systems and large dense ones are examined in float64 first; where rounding leaves a figure
open, and for small dense systems at once, in ball arithmetic (``ball``), up to a budget of time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ssmbench.analysis import ball, bounded_real, dense_proofs, phase_bound
from ssmbench.analysis.gramians import one_minus_square
from ssmbench.analysis.h2 import diagonal_energy_interval, in_time_units
from ssmbench.analysis.hinf import (
    hinf_norm,
    is_static,
    least_stable_frequency,
    replace_unusable_with_zero,
    usable_heads,
)
from ssmbench.analysis.interval import INFINITE, UNKNOWN, UNPROVED, Interval, around
from ssmbench.analysis.scaling import F, FirstOrder, InUnits, first_order, in_units, times_power
from ssmbench.analysis.stability import inside_circle
from ssmbench.systems import (
    ContinuousDense,
    ContinuousDiagonal,
    DenseSystem,
    DiscreteDense,
    DiscreteDiagonal,
    DiscreteSystem,
    LinearSystem,
)

#: Relative widths up to which norms, and the position of poles, count as proved.
NORM, H2, POLES = 1e-2, 1e-6, 1e-6
#: Relative width that is asked of a peak's enclosure, in turn until one is proved.
SHARP = (5e-5, 9e-3)
#: N^3 summed over the dense systems that ball arithmetic examines at once, without a look in
#: float64: 0.3 s at N = 32.
AT_ONCE = 32**3
#: N^3 summed over the systems that it examines in all: half a minute.
BUDGET = 2 * 64**3


@dataclass(frozen=True)
class Proved:
    """Of one system: stable (None: neither is proved), the spectral radius or abscissa, the norms.

    ``margin`` is 1 - radius or -abscissa; ``omega`` a frequency at which hinf.lower is reached.
    """

    stable: bool | None
    extent: Interval
    margin: Interval
    hinf: Interval
    omega: float
    h2: Interval
    scale: float = 1.0

    @property
    def poles_known(self) -> bool:
        """Whether the extent is proved to within POLES of ``scale``, the size of the poles."""
        return self.extent.is_within(POLES * self.scale)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to prove."""
        norms = self.hinf.is_sharp(NORM) and self.h2.is_sharp(H2)
        return self.stable is not None and self.poles_known and norms


@np.errstate(all="ignore")  # what overflows is reported as unproved
def prove(system: LinearSystem) -> list[Proved]:
    """What can be proved of each of the H systems, in at most about half a minute."""
    system = first_order(system.detach()).double()
    if not system.states:
        return [_stateless(one) for one in _each(system)]
    cost = system.order**3
    if isinstance(system, DenseSystem) and cost * system.heads <= AT_ONCE:
        return [_in_balls(one) for one in _each(system)]
    found = _dense(system) if isinstance(system, DenseSystem) else _diagonal(system)
    budget = BUDGET
    for index, proved in enumerate(found):
        if proved.is_complete or cost > budget:
            continue
        one = system.head(index)
        if one.to_dense().is_finite():  # the real form of a conjugate pair may overflow
            budget -= cost
            found[index] = _in_balls(one)
    return found


def _each(system: F) -> list[F]:
    return [system.head(index) for index in range(system.heads)]


def _stateless(system: FirstOrder) -> Proved:
    discrete = isinstance(system, DiscreteSystem)
    extent = Interval(0.0, 0.0) if discrete else Interval(-math.inf, -math.inf)
    margin = Interval(1.0, 1.0) if discrete else INFINITE
    return _norms_in_balls(Proved(True, extent, margin, UNPROVED, 0.0, UNPROVED), system)


# --- ball arithmetic ----------------------------------------------------------------------------


def _matrices(system: FirstOrder) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    dense = system.to_dense()
    return _array(dense.A), _array(dense.B), _array(dense.C), _array(dense.D)


def _array(matrices: Tensor) -> np.ndarray:
    return matrices[0].cpu().resolve_conj().resolve_neg().numpy()


def _in_balls(system: FirstOrder) -> Proved:
    if not system.is_finite():
        return _lost(system)
    discrete = isinstance(system, DiscreteSystem)
    exact = ball.BallSystem.of(*_matrices(system), discrete=discrete)
    poles = ball.poles(exact)
    margin = _margin(poles.extent, discrete)
    scale = _pole_size(system)
    proved = Proved(poles.stable, poles.extent, margin, UNPROVED, 0.0, UNPROVED, scale)
    return _norms_in_balls(proved, system)


def _norms_in_balls(proved: Proved, system: FirstOrder) -> Proved:
    exact = ball.BallSystem.of(*_matrices(system), discrete=isinstance(system, DiscreteSystem))
    static = bool(is_static(system))
    if proved.stable is False and not static:
        return replace(proved, hinf=INFINITE, h2=INFINITE, omega=_least_stable(system))
    if proved.stable is None and not static:
        return replace(proved, omega=_least_stable(system))
    peak = ball.hinf(exact)
    return replace(proved, hinf=peak.norm, omega=peak.omega, h2=ball.h2(exact))


def _margin(extent: Interval, discrete: bool) -> Interval:
    ends = (1 - extent.upper, 1 - extent.lower) if discrete else (-extent.upper, -extent.lower)
    return Interval(*ends)


def _least_stable(system: FirstOrder) -> float:
    return float(least_stable_frequency(system)[0])


def _pole_size(system: FirstOrder) -> float:
    """What the width of a radius or abscissa is compared with: max(1, radius), or the radius."""
    largest = float(torch.nan_to_num(system.poles().abs().max(), nan=0.0))
    return max(1.0, largest) if isinstance(system, DiscreteSystem) else largest


def _lost(system: FirstOrder) -> Proved:
    """An entry is not a finite number."""
    return Proved(False, INFINITE, Interval(-math.inf, -math.inf), INFINITE, 0.0, INFINITE)


# --- diagonal systems in float64 ----------------------------------------------------------------


def _diagonal(system: ContinuousDiagonal | DiscreteDiagonal) -> list[Proved]:
    units = in_units(system)
    usable = usable_heads(units.system) & units.exact
    safe = replace_unusable_with_zero(units.system, usable)
    peaks = _peaks_of_diagonal(safe, usable)
    energies = [
        energy if known else UNPROVED
        for energy, known in zip(diagonal_energy_interval(safe), usable.tolist(), strict=True)
    ]
    singles = [_diagonal_poles(one) if one.is_finite() else _lost(one) for one in _each(system)]
    return _assembled(units, singles, peaks, energies)


def _diagonal_poles(system: ContinuousDiagonal | DiscreteDiagonal) -> Proved:
    lam = system.lam[0].to(torch.complex128)
    if isinstance(system, DiscreteSystem):
        stable = all(inside_circle(z) for z in lam.tolist())
        radius = float(lam.abs().max())
        loss = float((one_minus_square(lam) / (1 + lam.abs())).min())
        extent = around(radius, 2 * math.ulp(radius))
        return Proved(stable, extent, around(loss, 1e-15 * abs(loss)), UNPROVED, 0.0, UNPROVED)
    abscissa = float(lam.real.max())
    extent, scale = Interval(abscissa, abscissa), _pole_size(system)
    margin = Interval(-abscissa, -abscissa)
    return Proved(abscissa < 0, extent, margin, UNPROVED, 0.0, UNPROVED, scale)


def _peaks_of_diagonal(
    system: ContinuousDiagonal | DiscreteDiagonal, usable: Tensor
) -> phase_bound.Enclosure:
    found = phase_bound.enclose(system, SHARP[0])
    best = torch.where(usable, found.best, 0.0)
    return replace(found, best=best, bound=torch.where(usable, found.bound, math.inf))


def _assembled(
    units: InUnits,
    singles: list[Proved],
    peaks: phase_bound.Enclosure,
    energies: list[Interval],
) -> list[Proved]:
    """Poles from ``singles``, norms in the units of the original systems."""
    exponents, speeds = units.exponents.tolist(), units.speed.tolist()
    frequencies = units.frequency(peaks.omega).tolist()
    static = is_static(units.system).tolist()
    found = []
    for index, one in enumerate(singles):
        if one.stable is False and not static[index]:
            found.append(replace(one, hinf=INFINITE, h2=INFINITE, omega=frequencies[index]))
            continue
        ends = Interval(float(peaks.best[index]), float(peaks.bound[index]))
        hinf = _rescaled(ends, exponents[index])
        norm = _root(energies[index])
        h2 = _rescaled(_in_time_units(norm, speeds[index]), exponents[index])
        found.append(replace(one, hinf=hinf, omega=frequencies[index], h2=h2))
    return found


def _rescaled(value: Interval, exponent: int) -> Interval:
    """2^exponent times a norm; not proved where it leaves the range."""
    ends = torch.tensor([[value.lower, value.upper]], dtype=torch.float64)
    lower, upper = times_power(ends, torch.tensor([exponent]))[0].tolist()
    if (lower < 1e-300 and value.lower > 0) or math.isinf(lower):
        return value if value.is_infinite else UNPROVED
    return Interval(lower, upper)


def _in_time_units(value: Interval, speed: int) -> Interval:
    ends = torch.tensor([value.lower, value.upper], dtype=torch.float64)
    lower, upper = in_time_units(ends, torch.tensor([speed, speed])).tolist()
    return Interval(lower * (1 - 1e-15), upper * (1 + 1e-15))


def _root(value: Interval) -> Interval:
    if value.is_infinite:
        return value
    return Interval(math.sqrt(value.lower) * (1 - 1e-15), math.sqrt(value.upper) * (1 + 1e-15))


# --- dense systems in float64 -------------------------------------------------------------------


def _dense(system: ContinuousDense | DiscreteDense) -> list[Proved]:
    units = in_units(system)
    usable = usable_heads(units.system) & units.exact
    safe = replace_unusable_with_zero(units.system, usable)
    peaks = _peaks_of_dense(safe, usable)
    discrete = isinstance(system, DiscreteSystem)
    singles = [
        _dense_poles(scaled, one, discrete, float(bound), int(speed))
        for scaled, one, bound, speed in zip(
            _each(units.system), _each(system), peaks.bound, units.speed, strict=True
        )
    ]
    # Scaling that rounds gives another system: what is proved of that one does not hold here.
    exact = units.exact.tolist()
    singles = [one if same else _undecided(one) for one, same in zip(singles, exact, strict=True)]
    energies = [
        _energy(one, proved) for one, proved in zip(_each(units.system), singles, strict=True)
    ]
    return _assembled(units, singles, peaks, energies)


def _peaks_of_dense(
    system: ContinuousDense | DiscreteDense, usable: Tensor
) -> phase_bound.Enclosure:
    peak = hinf_norm(system)
    discrete = isinstance(system, DiscreteSystem)
    reached = [
        dense_proofs.gain_reached(*_matrices(one), float(omega), discrete=discrete)
        for one, omega in zip(_each(system), peak.omega, strict=True)
    ]
    best = torch.where(usable, torch.tensor(reached, dtype=torch.float64), 0.0)
    bound = torch.full_like(best, math.inf)
    for tolerance in SHARP:
        todo = usable & bound.isinf()
        if bool(todo.any()):
            part = system.map(lambda t, keep=todo: t[keep])
            bound[todo] = bounded_real.certify(part, peak.norm[todo], tolerance)
    return phase_bound.Enclosure(best, bound, peak.omega)


def _undecided(proved: Proved) -> Proved:
    return replace(proved, stable=None, extent=UNKNOWN, margin=UNKNOWN)


def _dense_poles(
    scaled: ContinuousDense | DiscreteDense,
    system: ContinuousDense | DiscreteDense,
    discrete: bool,
    bound: float,
    speed: int,
) -> Proved:
    if not system.is_finite():
        return _lost(system)
    A = _array(scaled.A)
    extent = dense_proofs.enclose_extent(A, discrete=discrete)
    extent = Interval(*np.ldexp((extent.lower, extent.upper), speed).tolist())
    boundary = 1.0 if discrete else 0.0
    stable = None
    if extent.upper < boundary or (math.isfinite(bound) and not bool(is_static(scaled))):
        stable = True  # a bounded-real certificate is a Lyapunov function too
    elif extent.lower >= boundary:
        stable = False
    scale = _pole_size(system)
    margin = _margin(extent, discrete)
    return Proved(stable, extent, margin, UNPROVED, 0.0, UNPROVED, scale)


def _energy(system: ContinuousDense | DiscreteDense, proved: Proved) -> Interval:
    A, B, C, D = _matrices(system)
    discrete = isinstance(system, DiscreteSystem)
    if not discrete and D.any():
        return INFINITE
    if not proved.stable:
        return UNPROVED
    through = dense_proofs.enclose_energy(A, B, C, discrete=discrete)
    direct = float(np.linalg.norm(D) ** 2) if discrete else 0.0
    slack = 1 + 1e-13
    return Interval(through.lower + direct / slack, through.upper + direct * slack)
