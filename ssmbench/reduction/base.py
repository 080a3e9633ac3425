"""Base class of reducers: a discrete system in, a smaller one with a bound on the error out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ssmbench.errors import UsageError, require
from ssmbench.reduction.amount import Amount
from ssmbench.reduction.balanced_form import BalancedForm, balanced_form
from ssmbench.reduction.errors import measured_errors
from ssmbench.reduction.joint import joint_level, orders_at
from ssmbench.reduction.modes import as_layer
from ssmbench.reduction.recorded import RecordedInputs
from ssmbench.reduction.result import Reduction
from ssmbench.systems import DiscreteDense, DiscreteDiagonal, DiscreteLTI, LinearSystem


class Prepared(ABC):
    """A system that a reducer has taken apart, so that any order can be kept of each head.

    ``bounds`` (H, n + 1): upper bounds on the H-infinity error with 0 .. n states kept, conjugate
    modes counted; infinite where so many cannot be kept, never at 0.
    """

    bounds: Float[Tensor, "H n_plus_1"]

    @property
    def losses(self) -> Float[Tensor, "H n_plus_1"]:
        """By what orders of different heads are compared where a share of the states of all is
        removed: falls with the order where the bounds are finite, and is infinite elsewhere."""
        return self.bounds

    @abstractmethod
    def at(self, orders: Int[Tensor, " H"]) -> DiscreteLTI:
        """The system with these orders, in double precision; heads of lower order than others are
        padded with states that no input reaches."""


class Reducer(ABC):
    """Makes a stable discrete system smaller; built by the registry as ``factory(config)``.

    A subclass says how a system is taken apart (:meth:`prepare`). Its systems have H independent
    heads, which are reduced one by one, all at once. Systems of real signals stay so.
    """

    #: Whether ``bounds`` hold in exact arithmetic, rather than being estimates.
    proves_bounds: ClassVar[bool] = True

    def __init__(self, config: Any = None):
        self.config = config

    @property
    def recorded_steps(self) -> int:
        """How many steps of a layer's inputs on training data it asks for; 0 if it uses none."""
        return 0

    @abstractmethod
    def prepare(self, system: DiscreteLTI, balanced: BalancedForm) -> Prepared:
        """The system taken apart; it is stable and finite, in double precision.

        Args:
            system: as it was given.
            balanced: the same in balanced coordinates, with its Hankel singular values.
        """

    def prepare_for(
        self, system: DiscreteLTI, balanced: BalancedForm, inputs: RecordedInputs
    ) -> Prepared:
        """As :meth:`prepare`, for the inputs that the system was seen to have; without regard to
        them unless a subclass says otherwise."""
        return self.prepare(system, balanced)

    def reduce(
        self, system: DiscreteLTI, amount: Amount, inputs: RecordedInputs | None = None
    ) -> Reduction:
        """The smaller system, in the precision of the given one, with its errors; ``inputs``: what
        the system was seen to be given, for a reducer that regards them.

        Its A is diagonal where the eigenvectors are well enough conditioned, so that every scan
        runs it; otherwise dense. All heads store as many states as the one that needs most. Where
        these are as many as before, nothing is gained, and the given system is returned as it is,
        except for a joint share.

        It is checked to be stable after rounding: an order at which a head is not is passed over,
        for the next larger one that a tolerance allows, or the next smaller one otherwise.

        Raises:
            UsageError: the system is time-varying, continuous, not finite or not stable; or the
                reducer does not apply to it.
        """
        return self.take(system, inputs).reduce(amount)

    def take(self, system: DiscreteLTI, inputs: RecordedInputs | None = None) -> Taken:
        """The system taken apart, before it is known how much is kept; see :meth:`reduce`."""
        double = checked(system)
        balanced = balanced_form(double)
        if inputs is None:
            prepared = self.prepare(double, balanced)
        else:
            prepared = self.prepare_for(double, balanced, inputs)
        return Taken(system, double, balanced.hankel, prepared)

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """The class's facts as plain values."""
        return {"proves_bounds": cls.proves_bounds}


@dataclass(frozen=True)
class Taken:
    """A system that a reducer has taken apart: as ``given``, in ``double`` precision, its Hankel
    singular values, and what the reducer made of it."""

    given: DiscreteLTI
    double: DiscreteLTI
    hankel: Float[Tensor, "H n"]
    prepared: Prepared

    def reduce(self, amount: Amount, level: Float[Tensor, " H"] | None = None) -> Reduction:
        """As :meth:`Reducer.reduce`. ``level``: what each head may lose, where ``amount`` is a
        joint share of the states of other systems too."""
        if amount.joint and level is None:
            found = joint_level([amount.capped(self.prepared.losses)], amount.share or 0.0)
            level = self.hankel.new_full((self.given.heads,), found)
        orders, reduced = _Search(self, self.prepared.bounds.clone(), level).stable(amount)
        bound = self.prepared.bounds.gather(1, orders[:, None])[:, 0]
        if self._is_smaller(reduced, orders, level):
            hinf, h2 = measured_errors(self.double, reduced)
        else:  # nothing is gained
            reduced, orders = self.given.detach(), torch.full_like(orders, self.given.order)
            bound = hinf = h2 = torch.zeros_like(bound)
        return Reduction(
            system=reduced,
            order=self.given.order,
            hankel=self.hankel,
            orders=orders,
            bound=bound,
            hinf_error=hinf,
            h2_error=h2,
        )

    def _is_smaller(
        self, reduced: DiscreteLTI, orders: Int[Tensor, " H"], level: Tensor | None
    ) -> bool:
        """Whether fewer states are stored; or as many, and a share of those of all heads was to be
        removed."""
        fewer = level is not None and bool((orders < self.given.order).any())
        return reduced.states < self.given.states + fewer


@dataclass(frozen=True)
class _Search:
    """For the orders to keep. ``bounds``: the prepared ones, infinite at orders that are passed
    over."""

    taken: Taken
    bounds: Float[Tensor, "H n_plus_1"]
    level: Float[Tensor, " H"] | None

    def stable(self, amount: Amount) -> tuple[Int[Tensor, " H"], DiscreteLTI]:
        """The orders, and the system in the precision of the given one, whose heads are stable."""
        unit = float(self.taken.hankel.max()) if self.taken.hankel.numel() else 0.0
        while True:  # ends at order 0 at the latest
            orders = self._chosen(amount, unit)
            if amount.measured:
                orders = self._fewest(self._enough(orders, amount.limit(unit)), amount.limit(unit))
            reduced = self._at(orders)
            lost = ~_is_stable(reduced, self.taken.double) & (orders > 0)
            if not bool(lost.any()):
                return orders, reduced
            self.bounds[lost, orders[lost]] = torch.inf

    def _chosen(self, amount: Amount, unit: float) -> Int[Tensor, " H"]:
        if self.level is None:
            return amount.orders(self.bounds, unit)
        allowed = torch.where(self.bounds.isfinite(), self.taken.prepared.losses, torch.inf)
        return orders_at(amount.capped(allowed), self.level)

    def _at(self, orders: Int[Tensor, " H"]) -> DiscreteLTI:
        return as_layer(self.taken.prepared.at(orders), self.taken.given)

    def _errors(self, orders: Int[Tensor, " H"]) -> Float[Tensor, " H"]:
        return measured_errors(self.taken.double, self._at(orders))[0]

    def _enough(self, orders: Int[Tensor, " H"], limit: float) -> Int[Tensor, " H"]:
        """The orders, larger where the error of the rounded matrices exceeds the limit; all states
        at the most."""
        last = self.bounds.shape[1] - 1
        places = torch.where(self.bounds.isfinite(), torch.arange(last + 1), last)
        above = places.flip(-1).cummin(-1).values.flip(-1)  # the next allowed order
        step = 1
        while bool((short := (self._errors(orders) > limit) & (orders < last)).any()):
            larger = above.gather(1, (orders + step).clamp_max(last)[:, None])[:, 0]
            orders, step = torch.where(short, larger, orders), 2 * step
        return orders

    def _fewest(self, orders: Int[Tensor, " H"], limit: float) -> Int[Tensor, " H"]:
        """The orders, at most these, to which a bisection comes whose measured errors, as rounded,
        are within the limit; those that are given where none smaller is found."""
        allowed = self.bounds.isfinite()
        places = torch.arange(allowed.shape[1], device=orders.device).expand_as(allowed)
        below = torch.where(allowed, places, -1).cummax(-1).values  # the next allowed order
        failed, kept = torch.full_like(orders, -1), orders
        while bool((kept - failed > 1).any()):
            middle = (kept + failed) // 2
            tried = below.gather(1, middle.clamp_min(0)[:, None])[:, 0]
            new = (tried > failed) & (tried < kept)
            fits = new & (self._errors(torch.where(new, tried, kept)) <= limit)
            failed = torch.where(fits, failed, torch.maximum(failed, middle))
            kept = torch.where(fits, tried, kept)
        return kept


def _is_stable(reduced: DiscreteLTI, given: DiscreteLTI) -> Bool[Tensor, " H"]:
    """Whether the poles are inside the unit circle by more than the rounding of their computation,
    or at least by half as much as those of the given system."""
    rounding = 8 * torch.finfo(torch.float64).eps * max(reduced.order, 1)
    least = ((1 - given.spectral_radius()) / 2).clamp_max(rounding)
    return 1 - reduced.double().spectral_radius() >= least


def checked(system: Any) -> DiscreteLTI:
    """The system in double precision, without gradients, after a check that it can be reduced.

    Raises:
        UsageError: see :meth:`Reducer.reduce`.
    """
    if not isinstance(system, DiscreteDiagonal | DiscreteDense):
        kind = "a continuous" if isinstance(system, LinearSystem) else "a time-varying"
        raise UsageError(f"{kind} system cannot be reduced; allowed: time-invariant, discrete time")
    require(system.is_finite(), "an entry of the system is not finite: it cannot be reduced")
    double = system.detach().double()
    radius = double.spectral_radius()
    worst = int(radius.argmax())
    require(
        bool((radius < 1).all()),
        f"head {worst} has spectral radius {float(radius[worst]):.9g}: only a stable system has "
        "Hankel singular values",
    )
    return double
