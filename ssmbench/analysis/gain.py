"""One report on a system's gain and stability."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Complex
from torch import Tensor

from ssmbench.analysis.hinf import hinf_norm
from ssmbench.analysis.horizon import horizon_gain
from ssmbench.analysis.interval import Interval
from ssmbench.analysis.measured import Measured
from ssmbench.analysis.proofs import H2, NORM, Proved, prove
from ssmbench.errors import UsageError
from ssmbench.systems import (
    FROZEN_ONLY,
    ContinuousSystem,
    DiscreteSystem,
    LinearSystem,
    TimeVaryingSystem,
)


@dataclass(frozen=True, repr=False)
class GainReport:
    """Gain and stability of a batch of systems on separate channels: the worst over all of them.

    Fields that do not apply are None.

    Attributes:
        time: "continuous" or "discrete".
        stable: whether the poles lie inside the stability boundary, with proof; None where neither
            answer could be proved.
        hinf: the H-infinity norm, that is the l2 gain over all time; that of D for a system whose
            B or C is zero; infinite for an unstable system.
        hinf_lower_bound: the norm is proved to be at least this.
        hinf_upper_bound: the norm is proved to be at most this; infinite where no proof succeeded.
        peak_frequency: in radians per sample (discrete) or per time unit (continuous).
        h2: the H2 norm, the root of the impulse response's energy; infinite for an unstable system
            and for a continuous one with D != 0.
        margin: 1 - spectral_radius or -spectral_abscissa; stable when positive.
        spectral_radius: in discrete time; NaN, as the margin, if nothing at all is known of it.
        spectral_abscissa: in continuous time; NaN likewise.
        horizon: steps of ``horizon_gain``.
        horizon_gain: the l2 gain over ``horizon`` steps from rest.
        unproved: names of the figures that are estimates, for want of a proof. Of the others, norms
            are proved to within 1% (hinf) and 1e-6 (h2), poles to within 1e-6.
        system: the system that the report is about, in double precision.
        measures: further measures that were asked for, by name.
    """

    time: Literal["continuous", "discrete"]
    stable: bool | None
    hinf: float
    hinf_lower_bound: float
    hinf_upper_bound: float
    peak_frequency: float
    h2: float
    margin: float
    spectral_radius: float | None = None
    spectral_abscissa: float | None = None
    horizon: int | None = None
    horizon_gain: float | None = None
    unproved: tuple[str, ...] = ()
    system: LinearSystem | None = dataclasses.field(default=None, compare=False)
    measures: Mapping[str, Measured] = dataclasses.field(default_factory=dict)

    @property
    def poles(self) -> Complex[Tensor, "H N"]:
        """The poles of every system.

        Raises:
            UsageError: the report was made without its system.
        """
        if self.system is None:
            raise UsageError("poles: this report was made without its system")
        return self.system.poles()

    def __repr__(self) -> str:
        lines = [f"GainReport of a {self.time}-time system: {self._verdict}"]
        lines += [f"  {name:<18} {value}" for name, value in self._rows()]
        return "\n".join(lines)

    @property
    def _verdict(self) -> str:
        return {True: "stable", False: "unstable", None: "stability unproved"}[self.stable]

    def _rows(self) -> list[tuple[str, str]]:
        discrete = self.time == "discrete"
        extent = "spectral_radius" if discrete else "spectral_abscissa"
        unit = "rad/sample" if discrete else "rad per unit of time"
        bounds = f"in [{self.hinf_lower_bound:.6g}, {self.hinf_upper_bound:.6g}]"
        rows = [
            (extent.replace("_", " "), f"{getattr(self, extent):.6g}{self._mark(extent)}"),
            ("stability margin", f"{self.margin:.6g}{self._mark('margin')}"),
            ("H-infinity norm", f"{self.hinf:.6g}{self._mark('hinf')} {bounds}"),
            ("  at", f"{self.peak_frequency:.6g} {unit}"),
            ("H2 norm", f"{self.h2:.6g}{self._mark('h2')}"),
        ]
        if self.horizon is not None:
            rows.append((f"gain, {self.horizon} steps", f"{self.horizon_gain:.6g} (unproved)"))
        return rows + [(name, str(measured)) for name, measured in self.measures.items()]

    def _mark(self, figure: str) -> str:
        return " (unproved)" if figure in self.unproved else ""

    def to_dict(self) -> dict[str, Any]:
        """The fields that apply; floats may be infinite, and stable may be "unproved"."""
        names = (f.name for f in dataclasses.fields(self) if f.name not in ("system", "measures"))
        fields = {name: value for name in names if (value := getattr(self, name)) is not None}
        stable = "unproved" if self.stable is None else self.stable
        further = {name: measured.to_dict() for name, measured in self.measures.items()}
        fields |= {"stable": stable, "unproved": list(self.unproved)}
        return fields | ({"measures": further} if further else {})


def analyse(system: LinearSystem | TimeVaryingSystem, horizon: int | None = None) -> GainReport:
    """Gain and stability of a system, with proofs (``analysis.proofs``).

    Args:
        system: dense or diagonal, continuous or discrete; a time-varying one is refused.
        horizon: also the gain over this many steps (discrete systems only).

    Raises:
        UsageError: a horizon for a continuous system, or one below 1; a time-varying system.
    """
    if isinstance(system, TimeVaryingSystem):
        raise UsageError(FROZEN_ONLY)
    system = system.detach().double()
    finite_gain = None if horizon is None else float(horizon_gain(system, horizon).max())
    discrete = isinstance(system, DiscreteSystem)
    rest = {"horizon": horizon, "horizon_gain": finite_gain, "system": system}
    return _report(prove(system), discrete=discrete, **rest)


def _report(proved: list[Proved], *, discrete: bool, **rest: Any) -> GainReport:
    worst = max(proved, key=lambda p: p.hinf.lower)
    least = min(proved, key=lambda p: p.margin.lower)
    h2 = max(proved, key=lambda p: p.h2.lower)
    place = "spectral_radius" if discrete else "spectral_abscissa"
    missing = {
        "stable": _verdict(proved) is None,
        "hinf": not Interval(worst.hinf.lower, _largest_bound(proved)).is_sharp(NORM),
        "h2": not Interval(h2.h2.lower, max(p.h2.upper for p in proved)).is_sharp(H2),
        "margin": not least.poles_known,
        "horizon_gain": rest.get("horizon") is not None,  # computed in float64, without a bound
        place: not least.poles_known,
    }
    return GainReport(
        time="discrete" if discrete else "continuous",
        stable=_verdict(proved),
        hinf=worst.hinf.lower,
        hinf_lower_bound=worst.hinf.lower,
        hinf_upper_bound=_largest_bound(proved),
        peak_frequency=worst.omega,
        h2=h2.h2.middle,
        margin=least.margin.middle,
        unproved=tuple(name for name, open_ in missing.items() if open_),
        **{place: least.extent.middle},
        **rest,
    )


def _largest_bound(proved: list[Proved]) -> float:
    return max(p.hinf.upper for p in proved)


def _verdict(proved: list[Proved]) -> bool | None:
    if any(p.stable is False for p in proved):
        return False
    return True if all(p.stable for p in proved) else None


def stability(system: ContinuousSystem | DiscreteSystem) -> dict[str, Any]:
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


def frozen_steps(length: int, most: int = 8) -> list[int]:
    """At most so many steps of a sequence, evenly spread, at which its system is frozen."""
    return torch.linspace(0, length - 1, min(most, length)).round().int().tolist()


def analyse_frozen(system: TimeVaryingSystem, most: int = 8) -> FrozenReport:
    """A discrete time-varying system frozen at up to ``most`` of its steps, evenly spread."""
    steps = frozen_steps(system.length, most)
    bank = system.detach().during(steps).double().bank()
    assert isinstance(bank, DiscreteSystem), "only discrete systems are scanned"
    peak = hinf_norm(bank)
    worst = int(peak.norm.argmax())
    poles = stability(bank)
    places = (system.batch, len(steps), -1)
    return FrozenReport(
        steps=tuple(steps),
        gains=tuple(peak.norm.unflatten(0, places).amax((0, 2)).tolist()),
        gain=float(peak.norm[worst]),
        peak_frequency=float(peak.omega[worst]),
        margin=poles["margin"],
        spectral_radius=poles["spectral_radius"],
        poles=bank.poles().flatten(),
    )
