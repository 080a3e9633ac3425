"""Wrong measures."""

from __future__ import annotations

import math

from ssmbench.analysis.interval import Interval
from ssmbench.measures.base import Finding
from ssmbench.measures.frequency_domain import BandGain, BandGainConfig, Passivity
from ssmbench.measures.time_domain import PeakToPeakGain
from tests.conformance.wrong import Wrong, no_module


class ExchangedEnds(BandGain):
    def prove(self, system):
        found = super().prove(system)
        return Finding(Interval(found.proved.upper, found.proved.lower), found.witness)


class OffByRootTwo(BandGain):
    """A margin that is wrong by sqrt(2)."""

    def prove(self, system):
        found = super().prove(system)
        ends = found.proved
        return Finding(Interval(0.0, ends.upper / math.sqrt(2)), found.witness)


class WithoutTheHalf(Passivity):
    """A factor that was dropped: G + G^H in place of its half."""

    def of_least(self, least):
        return Interval(2 * least.lower, 2 * least.upper)

    def attack(self, system, found):
        return super().attack(system, found) / 2


class WithoutTheDirectTerm(PeakToPeakGain):
    """A bound of the tail alone."""

    def prove(self, system):
        found = super().prove(system)
        low, high = (end - float(system.D.abs().sum(-1).max()) for end in (0, found.proved.upper))
        return Finding(Interval(low, high), found.witness, details=found.details)


class Idle(BandGain):
    def attack(self, system, found):
        return super().attack(system, found) / 3


class OfTheFirst(BandGain):
    def measure(self, system):
        self.check(system)
        return super().measure(system.head(0))


class TakesEverything(BandGain):
    def measure(self, system):
        return super().measure(getattr(system, "bank", lambda: system)())


def band(check, factory, says, *also):
    return Wrong("measure", check, factory, says, config=BandGainConfig, also=also)


WRONG = (
    band("builds", no_module, "a measure must derive from"),
    band("gives_an_interval_and_a_unit", ExchangedEnds, "its ends exchanged"),
    band("attack_stays_within_the_proof", OffByRootTwo, "the attack reached"),
    Wrong("measure", "attack_stays_within_the_proof", WithoutTheHalf, "two discrete lags"),
    Wrong("measure", "attack_stays_within_the_proof", WithoutTheDirectTerm, "the attack reached"),
    band("attack_comes_near_the_proof", Idle, "less than half"),
    band("the_worst_of_a_batch_counts", OfTheFirst, "of the batch, but the worst"),
    band("refuses_time_varying_systems", TakesEverything, "must be refused"),
)
