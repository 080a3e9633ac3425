"""One report on a system's gain and stability."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Complex
from torch import Tensor

from ssmbench.analysis.h2 import h2_norm
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.analysis.horizon import horizon_gain
from ssmbench.analysis.upper_bound import hinf_bound
from ssmbench.errors import require
from ssmbench.systems import (
    FROZEN_ONLY,
    DiscreteSystem,
    LinearSystem,
    TimeVaryingDiagonal,
    TimeVaryingSystem,
)


@dataclass(frozen=True)
class GainReport:
    """Gain and stability of a bank of copies on separate channels: the worst over its copies.

    hinf is the H-infinity norm (l2 gain over all time), infinite for an unstable system, and
    hinf_upper_bound a number proved, rounding included, not to lie below it (infinite where no
    proof succeeded). peak_frequency is in radians per sample (discrete) or per time unit
    (continuous). h2 is the H2 norm (root of the impulse response's energy), infinite for an
    unstable system and for a continuous one with D != 0. margin is 1 - spectral_radius or
    -spectral_abscissa: stable when positive. horizon_gain is the l2 gain over ``horizon`` steps
    from rest. Fields that do not apply are None.
    """

    time: Literal["continuous", "discrete"]
    stable: bool
    hinf: float
    hinf_upper_bound: float
    peak_frequency: float
    h2: float
    margin: float
    spectral_radius: float | None = None
    spectral_abscissa: float | None = None
    horizon: int | None = None
    horizon_gain: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields that apply; floats may be infinite."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v is not None}


def analyse(system: LinearSystem | TimeVaryingSystem, horizon: int | None = None) -> GainReport:
    """Gain and stability of a system, computed in float64.

    Args:
        system: dense or diagonal, continuous or discrete; a time-varying one is refused.
        horizon: also the gain over this many steps (discrete systems only).

    Raises:
        UsageError: a horizon for a continuous system, or one below 1; a time-varying system.
    """
    require(not isinstance(system, TimeVaryingSystem), FROZEN_ONLY)
    system = system.detach().double()
    finite_gain = None if horizon is None else float(horizon_gain(system, horizon).max())
    peak = hinf_norm(system)
    worst = int(peak.norm.argmax())
    return GainReport(
        hinf=float(peak.norm[worst]),
        hinf_upper_bound=float(hinf_bound(system).max()),
        peak_frequency=float(peak.omega[worst]),
        h2=float(h2_norm(system).max()),
        horizon=horizon,
        horizon_gain=finite_gain,
        **stability(system),
    )


def stability(system: LinearSystem) -> dict[str, Any]:
    """The fields of a report that follow from the poles: time, stable, margin, radius or abscissa.

    A pole that is NaN counts as infinite.
    """
    discrete = isinstance(system, DiscreteSystem)
    extents = system.spectral_radius() if discrete else system.spectral_abscissa()
    extent = float(torch.where(extents.isnan(), math.inf, extents).max())
    margin = 1 - extent if discrete else -extent
    return {
        "time": "discrete" if discrete else "continuous",
        "stable": margin > 0,
        "margin": margin,
        "spectral_radius" if discrete else "spectral_abscissa": extent,
    }


@dataclass(frozen=True)
class FrozenReport:
    """A time-varying system held still at some of its steps: information, never a certificate.

    gain: the largest H-infinity norm of the time-invariant systems that it is at ``steps``;
    gains: the largest at each of them. The system that moves from one to the other may amplify
    more. poles (H order steps B,); the other fields are as in :class:`GainReport`.
    """

    steps: tuple[int, ...]
    gains: tuple[float, ...]
    gain: float
    peak_frequency: float
    margin: float
    spectral_radius: float
    poles: Complex[Tensor, " modes"]


def analyse_frozen(system: TimeVaryingDiagonal, most: int = 8) -> FrozenReport:
    """A discrete time-varying system frozen at up to ``most`` of its steps, evenly spread."""
    steps = torch.linspace(0, system.length - 1, min(most, system.length)).round().int().tolist()
    bank = system.detach().during(steps).double().bank()
    peak = hinf_norm(bank)
    worst = int(peak.norm.argmax())
    poles = stability(bank)
    places = (system.batch, len(steps), system.copies)
    return FrozenReport(
        steps=tuple(steps),
        gains=tuple(peak.norm.unflatten(0, places).amax((0, 2)).tolist()),
        gain=float(peak.norm[worst]),
        peak_frequency=float(peak.omega[worst]),
        margin=poles["margin"],
        spectral_radius=poles["spectral_radius"],
        poles=bank.poles().flatten(),
    )
