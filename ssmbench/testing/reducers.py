"""Conformance checks of reducers: the bound on the error, the order, and real signals."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ssmbench.errors import UsageError
from ssmbench.reduction.amount import Amount
from ssmbench.reduction.balanced_form import balanced_form
from ssmbench.reduction.base import Prepared, Reducer, checked
from ssmbench.reduction.errors import measured_errors
from ssmbench.reduction.recorded import RecordedInputs
from ssmbench.systems import DiscreteDense, DiscreteDiagonal, DiscreteLTI
from ssmbench.testing.report import Subject, skip_unless

#: What rounding adds to an error, as a share of the largest Hankel singular value.
_ROUNDING = 1e-9


def builds(subject: Subject) -> None:
    """It can be built, and derives from Reducer."""
    reducer = subject.build()
    assert isinstance(reducer, Reducer), "a reducer must derive from ssmbench.reduction.Reducer"


def bounds_begin_finite_and_decrease(subject: Subject) -> None:
    """Of 0 .. n states there is a bound each, finite at 0, which never grows with the order where
    it is finite."""
    for name, system, prepared in _prepared(subject):
        bounds = prepared.bounds
        shape = (system.heads, system.order + 1)
        assert bounds.shape == shape, f"{name}: bounds of shape {tuple(bounds.shape)}, not {shape}"
        assert bool(bounds[:, 0].isfinite().all()), f"{name}: without states no bound is finite"
        for head in bounds:
            finite = head[head.isfinite()]
            falls = finite[1:] <= finite[:-1] * (1 + 1e-9)
            assert bool(falls.all()), f"{name}: a bound grows with the order"


def error_stays_below_its_bound(subject: Subject) -> None:
    """Whatever order is kept, the reduced system is stable and its H-infinity error at most the
    bound."""
    skip_unless(subject.build().proves_bounds, "its bounds are estimates")
    for name, system, prepared in _prepared(subject):
        floor = _ROUNDING * float(balanced_form(system).hankel.max())
        for kept in range(0, system.order, 2):
            orders = _orders(prepared, kept)
            bound = prepared.bounds.gather(1, orders[:, None])[:, 0]
            error = measured_errors(system, prepared.at(orders).double())[0]
            worst = int((error - bound).argmax())
            assert bool((error <= bound + floor).all()), (
                f"{name}: with {int(orders[worst])} states the error is {float(error[worst]):g}, "
                f"and the bound {float(bound[worst]):g}"
            )


def has_the_order_that_is_asked(subject: Subject) -> None:
    """The reduced heads have no more states, other than zero, than their orders say."""
    for name, system, prepared in _prepared(subject):
        for kept in range(system.order + 1):
            orders = _orders(prepared, kept)
            reduced = prepared.at(orders).to_dense()
            used = (reduced.B.abs().amax(-1) > 0) & (reduced.C.abs().amax(-2) > 0)
            found = used.sum(-1)
            assert bool((found <= orders).all()), (
                f"{name}: {found.tolist()} states are used where {orders.tolist()} were asked for"
            )


def real_systems_stay_real(subject: Subject) -> None:
    """What answers real signals with real ones does so afterwards, in the same precision."""
    reducer = subject.build()
    for name, system in example_lti_systems().items():
        given = system.single()
        reduced = reducer.reduce(given, Amount(order=2)).system
        assert reduced.is_real(), f"{name}: the reduced system is not real"
        kinds = (reduced.signal_dtype, given.signal_dtype)
        assert kinds[0] == kinds[1], f"{name}: the precision is {kinds[0]}, not {kinds[1]}"


def heads_are_reduced_separately(subject: Subject) -> None:
    """A head of a bank has the same bounds as alone."""
    for name, system in example_lti_systems().items():
        prepared = subject.build().prepare(checked(system), balanced_form(system))
        for head in range(system.heads):
            alone = system.head(head)
            bounds = subject.build().prepare(alone, balanced_form(alone)).bounds
            same = torch.allclose(bounds[0], prepared.bounds[head], rtol=1e-6, atol=1e-12)
            assert same, f"{name}: head {head} has other bounds in the bank than alone"


def refuses_unstable_systems(subject: Subject) -> None:
    """A system with a pole on the unit circle is refused with a reason."""
    one = torch.ones(1, 1, 1).double()
    marginal = DiscreteDiagonal(lam=-one[0], B=one, C=one, D=one)
    try:
        subject.build().reduce(marginal, Amount(order=1))
    except UsageError:
        return
    raise AssertionError("a system that is not stable must be refused with a UsageError")


CHECKS = (
    builds,
    bounds_begin_finite_and_decrease,
    error_stays_below_its_bound,
    has_the_order_that_is_asked,
    real_systems_stay_real,
    heads_are_reduced_separately,
    refuses_unstable_systems,
)


def example_lti_systems() -> dict[str, DiscreteLTI]:
    """Small stable real systems in float64: a bank of conjugate pairs, real modes, a diagonal and a
    dense system with several channels."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def modes(heads: int, count: int, inputs: int, outputs: int) -> DiscreteDiagonal:
        radius = 1 - 0.5 * torch.rand(heads, count, generator=generator, dtype=torch.float64) ** 2
        return DiscreteDiagonal(
            lam=torch.polar(radius, 3 * torch.rand(heads, count, generator=generator).double()),
            B=torch.complex(normal(heads, count, inputs), normal(heads, count, inputs)),
            C=torch.complex(normal(heads, outputs, count), normal(heads, outputs, count)),
            D=normal(heads, outputs, inputs),
            conjugate=True,
        )

    A = normal(1, 5, 5)
    lag = torch.tensor([[0.9, 0.5, -0.3, 0.99]]).double()
    return {
        "bank of pairs": modes(3, 3, 1, 1),
        "two by three pairs": modes(1, 3, 3, 2),
        "lags": DiscreteDiagonal(
            lam=lag, B=normal(1, 4, 1), C=normal(1, 1, 4), D=torch.zeros(1, 1, 1).double()
        ),
        "dense": DiscreteDense(
            A=A / (1.1 * torch.linalg.eigvals(A).abs().max()),
            B=normal(1, 5, 2),
            C=normal(1, 2, 5),
            D=normal(1, 2, 2),
        ),
    }


def _prepared(subject: Subject) -> Iterator[tuple[str, DiscreteLTI, Prepared]]:
    """Each example, and once more for inputs that drift if the reducer regards inputs."""
    reducer = subject.build()
    for name, system in example_lti_systems().items():
        double, balanced = checked(system), balanced_form(system)
        yield name, system, reducer.prepare(double, balanced)
        if reducer.recorded_steps:
            inputs = _drifting(system.heads * system.inputs)
            about = f"{name}, with recorded inputs"
            yield about, system, reducer.prepare_for(double, balanced, inputs)


def _drifting(channels: int) -> RecordedInputs:
    generator = torch.Generator().manual_seed(1)
    steps = torch.randn(4, 50, channels, generator=generator, dtype=torch.float64)
    return RecordedInputs(steps.cumsum(1))


def _orders(prepared: Prepared, kept: int) -> torch.Tensor:
    return Amount(order=kept).orders(prepared.bounds, 1.0)
