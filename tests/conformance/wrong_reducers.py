"""Wrong reducers."""

from __future__ import annotations

import dataclasses

import torch

from ssmbench.reduction.balanced_truncation import BalancedTruncation, Truncated
from ssmbench.reduction.base import Reducer
from ssmbench.reduction.errors import measured_errors
from ssmbench.reduction.input_weighted import InputWeighted, InputWeightedConfig
from ssmbench.reduction.modes import as_layer
from ssmbench.reduction.result import Reduction
from tests.conformance.wrong import Wrong, no_module


def with_bounds(change):
    """Balanced truncation whose bounds are changed."""

    class Changed(BalancedTruncation):
        def prepare(self, system, balanced):
            found = super().prepare(system, balanced)
            return dataclasses.replace(found, bounds=change(found.bounds))

    return Changed


def with_system(change):
    """Balanced truncation whose reduced system is changed."""

    class Changed(Truncated):
        def at(self, orders):
            return change(super().at(orders), orders)

    class WithSystem(BalancedTruncation):
        def prepare(self, system, balanced):
            return Changed(balanced, balanced.tail_bounds())

    return WithSystem


#: A factor that was dropped: the sum of the singular values in place of twice that.
WithoutTheTwo = with_bounds(lambda bounds: bounds / 2)
#: The first of the removed singular values in place of their sum.
OfTheFirstAlone = with_bounds(
    lambda bounds: torch.nn.functional.pad(bounds[:, :-1] - bounds[:, 1:], (0, 1))
)
Rising = with_bounds(lambda bounds: bounds.flip(-1))
OfTheWorstHead = with_bounds(lambda bounds: bounds.amax(0, keepdim=True).expand_as(bounds))
WrongDirectTerm = with_system(lambda system, orders: dataclasses.replace(system, D=2 * system.D))
Complex = with_system(lambda system, orders: system.map(lambda t: t.to(torch.complex128)))


class OneTooMany(Truncated):
    def at(self, orders):
        return super().at(orders + (orders < self.bounds.shape[1] - 1))


class KeepsOneMore(BalancedTruncation):
    def prepare(self, system, balanced):
        return OneTooMany(balanced, balanced.tail_bounds())


class TwiceTheWeightedValues(InputWeighted):
    """Takes the bound of balanced truncation for values that count recorded inputs."""

    def __init__(self, config):
        super().__init__(InputWeightedConfig())

    def prepare_for(self, system, balanced, inputs):
        found = super().prepare_for(system, balanced, inputs)
        return dataclasses.replace(found, bounds=found.balanced.tail_bounds())


class TakesUnstableSystems(BalancedTruncation):
    """Does not look whether the system is stable."""

    def reduce(self, system, amount):
        if system.is_stable():
            return super().reduce(system, amount)
        none = torch.zeros(system.heads)
        reduced = as_layer(system, system)
        return Reduction(reduced, 1, none, none, none, *measured_errors(system, reduced))


def reducer(check, factory, says, *also):
    assert check == "builds" or issubclass(factory, Reducer)
    return Wrong("reducer", check, factory, says, also=also)


WRONG = (
    reducer("builds", no_module, "must derive from"),
    reducer(
        "bounds_begin_finite_and_decrease",
        Rising,
        "grows with the order",
        "error_stays_below_its_bound",
    ),
    reducer("error_stays_below_its_bound", WithoutTheTwo, "the error is"),
    reducer("error_stays_below_its_bound", WrongDirectTerm, "and the bound"),
    reducer("error_stays_below_its_bound", OfTheFirstAlone, "the error is"),
    reducer("error_stays_below_its_bound", TwiceTheWeightedValues, "with recorded inputs"),
    reducer("has_the_order_that_is_asked", KeepsOneMore, "states are used where"),
    reducer("real_systems_stay_real", Complex, "is not real"),
    reducer("heads_are_reduced_separately", OfTheWorstHead, "than alone"),
    reducer("refuses_unstable_systems", TakesUnstableSystems, "must be refused"),
)
