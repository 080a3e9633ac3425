"""What an SSM layer declares of its gain: its parametrization's, or less, by the layer's parts."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from ssmbench.analysis.certificate import GainClaim
from ssmbench.discretizers.base import Discretizer
from ssmbench.nn.pairing import check_normalisable, check_pairing, check_readout
from ssmbench.normalisers.base import Normaliser
from ssmbench.parametrizations.base import Parametrization
from ssmbench.systems import NO_GAIN_AFTER, Readout

#: Why a time-varying layer that starts from a learned state declares no gain.
NO_GAIN_FROM_LEARNED_STATE = (
    "the gain of its parametrization holds from the zero state, and it starts from a learned one"
)


class DeclaringLayer(nn.Module):
    """The parts of an SSM layer that its declarations follow from, without a signal.

    Raises:
        UsageError: they cannot be combined; see :class:`~ssmbench.nn.layer.SSMLayer`.
    """

    #: The learned initial state (H, N), or (H, N, 2) if states are complex; None if it is zero.
    x0: nn.Parameter | None

    def __init__(
        self,
        parametrization: Parametrization,
        discretizer: Discretizer | None,
        normaliser: Normaliser | None,
        readout: Readout,
    ):
        super().__init__()
        check_pairing(type(parametrization), discretizer and type(discretizer))
        if normaliser is not None:
            check_normalisable(type(parametrization))
        check_readout(type(parametrization), readout)
        self.parametrization = parametrization
        self.discretizer = discretizer
        self.normaliser = normaliser
        self.readout = readout

    @property
    def time_varying(self) -> bool:
        """Whether the system depends on the input, so that there is none without an input."""
        return self.parametrization.is_time_varying()

    def declared_gain(self) -> float | None:
        """The L2 gain that this layer declares; None if there is none, if the discretizer does
        not preserve it, if outputs read the state after the input (:data:`NO_GAIN_AFTER`), or if
        a time-varying layer starts from a learned state. That of a normaliser, which acts on the
        system as it is read, holds for both readouts. :attr:`gain_claim` says which gain it is."""
        facts = None if self.discretizer is None else self.discretizer.facts
        if self.normaliser is not None:
            stable = self.parametrization.stable_by_construction and (not facts or facts.a_stable)
            return self.normaliser.gamma if stable and self.normaliser.infinite_horizon else None
        if self.readout is Readout.after or (facts and not facts.preserves_gain):
            return None
        if self.time_varying and self.x0 is not None:
            return None
        return self.parametrization.declared_gain()

    def declared_measures(self) -> Mapping[str, float]:
        """What the parametrization declares of other measures, where the layer runs its system as
        it is: not sampled, not scaled, and read before the input."""
        changed = self.discretizer is not None or self.normaliser is not None
        if changed or self.readout is Readout.after:
            return {}
        return self.parametrization.declared_measures()

    @property
    def gain_claim(self) -> GainClaim:
        """Which gain :meth:`declared_gain` bounds; incremental where there is none."""
        if not self.time_varying or self.parametrization.declared_gain() is None:
            return GainClaim.incremental
        return self.parametrization.gain_claim

    def undeclared_reason(self) -> str:
        """Why the gain that the parametrization declares is not the layer's; "" if neither the
        readout nor a learned initial state is the reason."""
        if self.normaliser is not None or self.parametrization.declared_gain() is None:
            return ""
        if self.readout is Readout.after:
            return NO_GAIN_AFTER
        learned = self.time_varying and self.x0 is not None
        return NO_GAIN_FROM_LEARNED_STATE if learned else ""
