"""The SSM layer: parametrization, discretizer, normaliser and scan, in a row."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssmbench.discretizers.base import Discretizer
from ssmbench.errors import UsageError
from ssmbench.normalisers.base import Normaliser
from ssmbench.parametrizations.base import Parametrization
from ssmbench.scans.base import ScanBackend
from ssmbench.systems import ContinuousSystem, DiscreteSystem


class SSMLayer(nn.Module):
    """u (B, L, d_model) to y (B, L, d_model) through a linear state-space system.

    Raises:
        UsageError: a discretizer for a discrete parametrization, none for a continuous one, or one
            that integrates oscillators for a parametrization that has none.
    """

    def __init__(
        self,
        parametrization: Parametrization,
        discretizer: Discretizer | None,
        scan: ScanBackend,
        normaliser: Normaliser | None = None,
    ):
        super().__init__()
        check_pairing(type(parametrization), discretizer and type(discretizer))
        self.parametrization = parametrization
        self.discretizer = discretizer
        self.normaliser = normaliser
        self.scan = scan

    def system(self) -> DiscreteSystem:
        """The discrete system for the present parameters: what is scanned and what is verified."""
        system = self.parametrization()
        system = self.discretizer(system) if isinstance(system, ContinuousSystem) else system
        return system if self.normaliser is None else self.normaliser(system)

    def declared_gain(self) -> float | None:
        """The L2 gain that this layer promises; None where none, or the discretizer loses it."""
        facts = None if self.discretizer is None else self.discretizer.facts
        if self.normaliser is not None:
            stable = self.parametrization.stable_by_construction and (not facts or facts.a_stable)
            return self.normaliser.gamma if stable and self.normaliser.over_all_time else None
        return None if facts and not facts.preserves_gain else self.parametrization.declared_gain()

    def forward(self, u: Float[Tensor, "B L d"]) -> Float[Tensor, "B L d"]:
        # Half precision would move the poles: under autocast, the layer keeps its own precision.
        with torch.autocast(u.device.type, enabled=False):
            system = self.system()
            u = u.to(torch.promote_types(u.dtype, system.D.real.dtype))
            y, _ = self.scan(system, u.unflatten(-1, (system.copies, system.inputs)), None)
            return y.flatten(-2)


def check_pairing(
    parametrization: type[Parametrization], discretizer: type[Discretizer] | None
) -> None:
    """Raise a UsageError unless the parametrization's kind of system fits the choice."""
    name = parametrization.__name__
    if discretizer and parametrization.time_domain == "discrete":
        raise UsageError(
            f"{name} takes no discretizer: {parametrization.why_discrete} "
            "(set model.discretizer=null)"
        )
    if not discretizer and parametrization.time_domain == "continuous":
        raise UsageError(
            f"{name} is a continuous-time system and needs a discretizer: "
            "set model.discretizer, for example to zoh"
        )
    if discretizer and discretizer.needs_oscillator and not parametrization.gives_oscillator:
        raise UsageError(
            f"{discretizer.__name__} integrates oscillators, q'' = -a q - g q' + B u, and {name} "
            "has none: set model.discretizer to another, for example to zoh, or "
            "model.parametrization to linoss"
        )
