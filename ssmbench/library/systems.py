"""Make, analyse and discretize linear systems given by a caller."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ssmbench import registry
from ssmbench.analysis.gain import GainReport
from ssmbench.analysis.gain import analyse as analyse_system
from ssmbench.analysis.stability_region import instability, largest_stable_step
from ssmbench.config import build, resolve_component
from ssmbench.errors import UsageError, require
from ssmbench.measures.chosen import chosen, measured
from ssmbench.nn.layer import SSMLayer
from ssmbench.paths import absolute
from ssmbench.systems import (
    ContinuousSystem,
    DiscreteLTI,
    LinearSystem,
    TimeVaryingSystem,
)
from ssmbench.systems.io import MATRICES, load_system, system_from_arrays

#: A system, a layer, a tuple (A, B, C, D) or (A, B, C, D, dt) of arrays, an object or a mapping
#: with these attributes or keys (such as the state-space objects of SciPy and python-control), or
#: the path of an .npz file that holds these arrays.
SystemLike = Any

_ALLOWED = "a system, a layer, arrays (A, B, C, D[, dt]), or the path of an .npz file"


def system(A: Any, B: Any, C: Any, D: Any, dt: float | None = None) -> LinearSystem:
    """A linear system of dense matrices, in double precision.

    >>> import ssmbench as sb
    >>> sb.system([[-1.0]], [[1.0]], [[1.0]], [[0.0]]).poles()
    tensor([[-1.+0.j]], dtype=torch.complex128)

    Args:
        A: array (N, N); as the others, with a leading H for a batch of systems.
        B: array (N, m), or (N,) for one input.
        C: array (p, N), or (N,) for one output.
        D: array (p, m), or a number for one input and one output.
        dt: None or 0 for continuous time, x' = A x + B u; positive for discrete time,
            x[k+1] = A x[k] + B u[k]. In both, y = C x + D u.

    Raises:
        UsageError: the shapes of the matrices do not fit together, or a value is not finite.
    """
    return system_from_arrays({"A": A, "B": B, "C": C, "D": D, "dt": dt}, "system")


def as_system(source: SystemLike, owner: str) -> LinearSystem | TimeVaryingSystem:
    """Convert ``source`` to a system; error messages begin with ``owner``.

    Raises:
        UsageError: ``source`` cannot be converted.
    """
    if isinstance(source, LinearSystem | TimeVaryingSystem):
        return source
    if isinstance(source, SSMLayer):
        return source.system()
    if isinstance(source, str | Path):
        return load_system(absolute(source))
    return system_from_arrays(_matrices(source, owner), owner)


def _matrices(source: Any, owner: str) -> dict[str, Any]:
    keys = (*MATRICES, "dt")
    if isinstance(source, tuple | list) and len(source) in (4, 5):
        return dict(zip(keys, source, strict=False))
    if isinstance(source, Mapping):
        return dict(source)
    if all(hasattr(source, key) for key in MATRICES):
        return {key: getattr(source, key, None) for key in keys}
    kind = type(source).__name__
    count = f" of {len(source)}" if isinstance(source, tuple | list) else ""
    raise UsageError(f"{owner}: takes {_ALLOWED}; got {kind}{count}")


def analyse(
    source: SystemLike,
    horizon: int | None = None,
    *,
    measures: Iterable[str | Mapping[str, Any]] = (),
) -> GainReport:
    """Stability, poles, H-infinity norm (with a verified bound) and H2 norm of a system.

    >>> import ssmbench as sb
    >>> report = sb.analyse(([[0.5]], [[1.0]], [[1.0]], [[0.0]], 1.0))
    >>> report.stable, round(report.hinf, 6)
    (True, 2.0)

    Further measures are proved and attacked where they are asked for:

    >>> asked = ["band_gain(low=1)", {"name": "peak_to_peak"}]
    >>> report = sb.analyse(([[0.5]], [[1.0]], [[1.0]], [[0.0]], 1.0), measures=asked)
    >>> {name: round(found.value, 6) for name, found in report.measures.items()}
    {'band_gain(low=1.0)': 1.187034, 'peak_to_peak': 2.0}

    Args:
        source: a system, a layer, arrays (A, B, C, D[, dt]) as for :func:`system`, an object with
            these attributes, or the path of an .npz file.
        horizon: if given, also compute the gain over this many steps (discrete time only).
        measures: names of measures, with options in parentheses, or mappings with the key name;
            see ``list("measures")``.

    Raises:
        UsageError: the source is no system or a time-varying one, the horizon is not allowed, or a
            measure is unknown or not defined for the system.
    """
    require(
        horizon is None or (type(horizon) is int and horizon >= 1),
        f"horizon: must be a whole number of at least 1, got {horizon!r}",
    )
    asked = chosen(measures, "measure")
    report = analyse_system(as_system(source, "analyse"), horizon)
    assert report.system is not None, "the report of a system holds it"
    return dataclasses.replace(report, measures=measured(report.system, asked))


@dataclass(frozen=True)
class Discretization:
    """A continuous system sampled by a method, and the effect on poles and gain.

    ``largest_stable_step``: the largest step size at which the method keeps every system stable;
    ``warning``: a sentence if the method makes a stable system unstable, else None.
    """

    method: dict[str, Any]
    system: DiscreteLTI
    before: GainReport
    after: GainReport
    largest_stable_step: float
    warning: str | None

    def to_dict(self) -> dict[str, Any]:
        """The figures of both systems as plain values."""
        names = {"spectral_abscissa": "spectral_abscissa", "hinf": "hinf_continuous"}
        after = ("stable", "spectral_radius", "hinf")
        return {
            "stable": self.after.to_dict()["stable"],
            "spectral_abscissa": self.before.spectral_abscissa,
            "spectral_radius": self.after.spectral_radius,
            "hinf_continuous": self.before.hinf,
            "hinf": self.after.hinf,
            "hinf_upper_bound": self.after.hinf_upper_bound,
            "unproved": [names[x] for x in self.before.unproved if x in names]
            + [x for x in self.after.unproved if x in after],
            "largest_stable_step": self.largest_stable_step,
        }


def discretize(
    source: SystemLike, method: str = "zoh", dt: float | None = None, **options: Any
) -> DiscreteLTI:
    """A continuous system sampled by a registered discretizer.

    >>> import ssmbench as sb
    >>> continuous = sb.system([[-1.0]], [[1.0]], [[1.0]], [[0.0]])
    >>> sb.discretize(continuous, "tustin", 1.0).A
    tensor([[[0.3333]]], dtype=torch.float64)

    Args:
        source: as for :func:`analyse`, in continuous time.
        method: a registered name; see ``list("discretizers")``.
        dt: the step size, in the time unit of A; None for that of the system (for a layer, that of
            its parametrization; 1 for matrices).
        options: options of the method; see ``show("discretizer", name)``.

    Raises:
        UsageError: the system is discrete, the method or an option is unknown, or the method has no
            finite result at this step size.
    """
    component = _method(method, options)
    system = continuous(source, dt)
    discrete = _sample(component, system)
    found = instability(build(registry.discretizers, component), system)
    if found:
        warnings.warn(f"{method}: {found.sentence}", stacklevel=2)
    return discrete


def discretization(
    source: SystemLike, method: str, dt: float | None = None, **options: Any
) -> Discretization:
    """Like :func:`discretize`, with the figures of both systems.

    Raises:
        UsageError: as in :func:`discretize`.
    """
    component = _method(method, options)
    system = continuous(source, dt)
    discrete = _sample(component, system)
    discretizer = build(registry.discretizers, component)
    found = instability(discretizer, system)
    return Discretization(
        component,
        discrete,
        analyse_system(system),
        analyse_system(discrete),
        float(largest_stable_step(discretizer, system).min()),
        found and f"{method}: {found.sentence}",
    )


def _method(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    require("name" not in options, f"discretize: name: the method is given already, as {name!r}")
    return resolve_component(registry.discretizers, {"name": name, **options}, "discretize")


def continuous(
    source: SystemLike, dt: float | None = None, *, owner: str = "discretize"
) -> ContinuousSystem:
    """Convert ``source`` to a continuous system, with the step size ``dt`` if given.

    Raises:
        UsageError: the system is discrete, ``source`` cannot be converted, or the step size is not
            positive and finite.
    """
    positive = dt is None or (isinstance(dt, int | float) and 0 < dt < float("inf"))
    require(positive, f"dt must be positive and finite, got {dt}")
    if isinstance(source, SSMLayer) and source.discretizer is not None and not source.time_varying:
        source = source.parametrization()
    system = as_system(source, owner)
    where = f"{source}: " if isinstance(source, str | Path) else ""
    if not isinstance(system, ContinuousSystem):
        raise UsageError(
            f"{where}the system is discrete already; leave dt out of it for continuous time"
        )
    return system if dt is None else dataclasses.replace(system, dt=torch.full_like(system.dt, dt))


def _sample(component: Mapping[str, Any], system: ContinuousSystem) -> DiscreteLTI:
    name, method = component["name"], build(registry.discretizers, component)
    possible = method.samples(type(system))
    require(possible, f"{name}: samples {method.accepts_what}, not a {type(system).__name__}")
    try:
        discrete = method(system)
    except torch.linalg.LinAlgError:
        raise UsageError(
            f"{name}: a pole of the system times dt is a pole of this method; choose another step "
            "size"
        ) from None
    require(discrete.is_finite(), f"{name}: the result overflows at this step size")
    return discrete
