"""When a layer's signals are sampled: at one rate, or with a time step for each sample."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.discretizers.base import Discretizer
from ssmbench.errors import UsageError, require
from ssmbench.parametrizations.base import Parametrization
from ssmbench.scans import sampling
from ssmbench.scans.base import ScanBackend, Scannable
from ssmbench.systems import (
    ContinuousDiagonal,
    ContinuousOscillator,
    ContinuousTime,
    ContinuousTimeVaryingDiagonal,
    Readout,
    SampledModes,
    at_steps,
)
from ssmbench.transforms import values_deferred

Continuous = TypeVar("Continuous", bound=ContinuousTime)


def at_rate(system: Continuous, rate: float) -> Continuous:
    """The system with its step sizes times ``rate``, in the precision of its matrices."""
    if rate == 1:
        return system
    return replace(system, dt=rate * system.dt.to(system.D.real.dtype))


def sampled_by_scan(
    system: ContinuousTimeVaryingDiagonal,
    discretizer: Discretizer,
    readout: Readout,
    scan: ScanBackend,
    u: Float[Tensor, "B L *channels"],
) -> SampledModes | None:
    """The system with the discretizer's rule, for a scan that samples it step by step; None where
    the method has no such rule, the system is of a subclass (which may define more than the rule
    samples), or the scan does not fuse it."""
    rule = discretizer.sampling()
    if rule is None or type(system) is not ContinuousTimeVaryingDiagonal:
        return None
    fused = SampledModes.of(system, rule, readout)
    return fused if scan.samples(fused, u) else None


def discretized(system: ContinuousTime, discretizer: Discretizer) -> Scannable:
    """``discretizer(system)``, in one operation where the method has a rule that says what it does
    to each mode of a time-invariant diagonal system, and there are kernels for it."""
    if isinstance(system, ContinuousDiagonal) and sampling.suits(system):
        rule = discretizer.sampling()
        if rule is not None:
            return sampling.sampled(system, rule)
    return discretizer(system)


def check_rate(parametrization: type[Parametrization], rate: float) -> None:
    """Raise a UsageError unless the parametrization's system exists at another sampling rate."""
    require(0 < rate < math.inf, f"rate: must be positive and finite, got {rate}")
    require(
        parametrization.is_continuous(),
        f"{parametrization.__name__} has no other sampling rate: "
        f"{parametrization.no_discretizer_reason}",
    )


def at_time_steps(
    system: ContinuousTime | Scannable,
    dt: Float[Tensor, "B L"],
    parametrization: type[Parametrization],
) -> ContinuousTimeVaryingDiagonal:
    """The parametrization's system with its step size times ``dt`` at each sample.

    Raises:
        UsageError: the system is discrete or not diagonal.
    """
    owner = f"dt: {parametrization.__name__}"
    continuous = parametrization.is_continuous()
    require(continuous, f"{owner} has no step size: {parametrization.no_discretizer_reason}")
    if isinstance(system, ContinuousDiagonal | ContinuousTimeVaryingDiagonal):
        return at_steps(system, dt)
    kind = "oscillators" if parametrization.gives(ContinuousOscillator) else "a dense system"
    raise UsageError(f"{owner} gives {kind}; non-uniform sampling needs a diagonal system")


def check_time_steps(dt: Float[Tensor, ...], shape: tuple[int, ...]) -> None:
    """Raise a UsageError unless ``dt`` is of ``shape`` (B, L), positive and finite; the values are
    not looked at in traced graphs, nor where a device would be waited for in training."""
    require(tuple(dt.shape) == shape, f"dt must be (B, L) = {shape}, got {tuple(dt.shape)}")
    if values_deferred(dt):
        return
    positive = bool(((dt > 0) & torch.isfinite(dt)).all())
    require(positive, "dt must be positive and finite everywhere")


def check_uneven_network(*, bidirectional: bool, certified: bool) -> None:
    """Raise a UsageError unless such a network can be given time steps; ``certified``: it has a
    prescribed gain."""
    require(
        not bidirectional,
        "dt: a bidirectional network needs uniform sampling, because the time steps differ in "
        "reversed time",
    )
    require(not certified, "dt: the certificate of model.gamma holds for uniform sampling only")
