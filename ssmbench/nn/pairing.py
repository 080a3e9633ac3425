"""Which parametrizations, discretizers and normalisers can be combined in an SSM layer."""

from __future__ import annotations

from ssmbench.discretizers.base import Discretizer
from ssmbench.errors import UsageError, require
from ssmbench.parametrizations.base import Parametrization
from ssmbench.systems import FROZEN_ONLY, Readout, TimeVaryingDelta


def check_pairing(
    parametrization: type[Parametrization], discretizer: type[Discretizer] | None
) -> None:
    """Raise a UsageError unless the discretizer, or None, suits the parametrization's system."""
    name = parametrization.__name__
    if discretizer and not parametrization.is_continuous():
        raise UsageError(
            f"{name} takes no discretizer: {parametrization.no_discretizer_reason} "
            "(set model.discretizer=null)"
        )
    if not discretizer and parametrization.is_continuous():
        raise UsageError(
            f"{name} is a continuous-time system and needs a discretizer: "
            "set model.discretizer, for example to zoh"
        )
    if discretizer and not discretizer.samples(parametrization.system_type):
        raise UsageError(
            f"{discretizer.__name__} discretizes only {discretizer.accepts_what}, and {name} gives "
            f"a {parametrization.system_type.__name__}: set model.discretizer to another one, for "
            "example to zoh"
        )


def check_normalisable(parametrization: type[Parametrization]) -> None:
    """Raise a UsageError unless a normaliser can prescribe the gain of the parametrization."""
    require(
        not parametrization.is_time_varying(),
        f"{parametrization.__name__} takes no normaliser: {FROZEN_ONLY}, which bounds no output "
        "(set model.normaliser=null)",
    )


def check_readout(parametrization: type[Parametrization], readout: Readout) -> None:
    """Raise a UsageError unless outputs can read the state that the readout names."""
    require(
        readout is Readout.before or not parametrization.gives(TimeVaryingDelta),
        f"model.readout: {parametrization.__name__} has none but before: a delta rule reads "
        "between writing and erasing",
    )
