"""The SSM layer: parametrization, discretizer, normaliser and scan, in a row."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssmbench.discretizers.base import Discretizer
from ssmbench.errors import UsageError, require
from ssmbench.normalisers.base import Normaliser
from ssmbench.parametrizations.base import Parametrization
from ssmbench.scans.base import ScanBackend, Scannable
from ssmbench.systems import (
    FROZEN_ONLY,
    ContinuousDiagonal,
    ContinuousSystem,
    ContinuousTimeVaryingDiagonal,
    DiscreteSystem,
    LinearSystem,
    TimeVaryingSystem,
)


class SSMLayer(nn.Module):
    """u (B, L, d_model) to y (B, L, d_model) through a linear state-space system.

    Raises:
        UsageError: a discretizer for a discrete parametrization, or none for a continuous one; a
            normaliser for a time-varying one.
    """

    def __init__(
        self,
        parametrization: Parametrization,
        discretizer: Discretizer | None,
        scan: ScanBackend,
        normaliser: Normaliser | None = None,
    ):
        super().__init__()
        check_pairing(type(parametrization), discretizer is not None)
        require(
            normaliser is None or not parametrization.needs_input,
            f"{type(parametrization).__name__} takes no normaliser: {FROZEN_ONLY}, and that "
            "bounds nothing (set model.normaliser=null)",
        )
        self.parametrization = parametrization
        self.discretizer = discretizer
        self.normaliser = normaliser
        self.scan = scan

    @property
    def time_varying(self) -> bool:
        """Whether the system follows from the input, so that there is none without one."""
        return self.parametrization.needs_input

    def system(self) -> DiscreteSystem:
        """The discrete system for the present parameters: what is scanned and what is verified.

        Raises:
            UsageError: it is time-varying.
        """
        name = type(self.parametrization).__name__
        require(not self.time_varying, f"{name} has no system without an input: {FROZEN_ONLY}")
        system = self.parametrization()
        system = self.discretizer(system) if isinstance(system, ContinuousSystem) else system
        return system if self.normaliser is None else self.normaliser(system)

    def system_for(
        self, u: Float[Tensor, "B L d"], dt: Float[Tensor, "B L"] | None = None
    ) -> Scannable:
        """The system that the input u is scanned with, sampled at :meth:`forward`'s ``dt``.

        Raises:
            UsageError: see :meth:`forward`.
        """
        if not self.time_varying and dt is None:
            return self.system()
        system = self.parametrization(u) if self.time_varying else self.parametrization()
        if dt is not None:
            system = self._at_steps(system, u, dt)
        return system if self.discretizer is None else self.discretizer(system)

    def _at_steps(
        self, system: LinearSystem | TimeVaryingSystem, u: Tensor, dt: Tensor
    ) -> ContinuousTimeVaryingDiagonal:
        parametrization = self.parametrization
        owner = f"dt: {type(parametrization).__name__}"
        discrete = parametrization.time_domain == "discrete"
        require(not discrete, f"{owner} has no step size: {parametrization.why_discrete}")
        diagonal = isinstance(system, ContinuousDiagonal | ContinuousTimeVaryingDiagonal)
        require(diagonal, f"{owner} gives a dense system; steps of their own need a diagonal one")
        regular = self.normaliser is None
        require(regular, f"{owner} has a normaliser, which bounds the gain at even steps only")
        shape = tuple(u.shape[:2])
        require(tuple(dt.shape) == shape, f"dt must be (B, L) = {shape}, got {tuple(dt.shape)}")
        positive = bool(((dt > 0) & torch.isfinite(dt)).all())
        require(positive, "dt must be positive and finite everywhere")
        return system.at_steps(dt)

    def declared_gain(self) -> float | None:
        """The L2 gain that this layer promises; None where none, or the discretizer loses it."""
        facts = None if self.discretizer is None else self.discretizer.facts
        if self.normaliser is not None:
            stable = self.parametrization.stable_by_construction and (not facts or facts.a_stable)
            return self.normaliser.gamma if stable and self.normaliser.over_all_time else None
        return None if facts and not facts.preserves_gain else self.parametrization.declared_gain()

    def forward(
        self, u: Float[Tensor, "B L d"], dt: Float[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "B L d"]:
        """``dt`` (B, L), for signals that are not sampled evenly: the time from each sample to the
        next, in units of the system's own step size; 1 everywhere where None.

        Raises:
            UsageError: a dt for a discrete or a dense system or one with a normaliser, of another
                shape, or not positive.
        """
        # Half precision would move the poles: under autocast, the layer keeps its own precision.
        with torch.autocast(u.device.type, enabled=False):
            system = self.system_for(u, dt)
            u = u.to(torch.promote_types(u.dtype, system.D.real.dtype))
            y, _ = self.scan(system, u.unflatten(-1, (system.copies, system.inputs)), None)
            return y.flatten(-2)


def check_pairing(parametrization: type[Parametrization], discretized: bool) -> None:
    """Raise a UsageError unless the parametrization's time domain fits the choice."""
    name = parametrization.__name__
    if discretized and parametrization.time_domain == "discrete":
        raise UsageError(
            f"{name} takes no discretizer: {parametrization.why_discrete} "
            "(set model.discretizer=null)"
        )
    if not discretized and parametrization.time_domain == "continuous":
        raise UsageError(
            f"{name} is a continuous-time system and needs a discretizer: "
            "set model.discretizer, for example to zoh"
        )
