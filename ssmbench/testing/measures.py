"""Conformance checks of measures: the interval, the attack, and the worst of a batch."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from ssmbench.analysis.measured import Measured
from ssmbench.errors import UsageError
from ssmbench.measures.base import Measure
from ssmbench.systems import (
    ContinuousDense,
    ContinuousDiagonal,
    DiscreteDense,
    DiscreteDiagonal,
    LinearSystem,
    TimeVaryingDiagonal,
)
from ssmbench.testing.report import Subject, skip_unless

#: How far, relatively, an attack may stay behind the bound on every example.
_NEAR = 0.5


def builds(subject: Subject) -> None:
    """It can be built, and derives from Measure."""
    measure = subject.build()
    assert isinstance(measure, Measure), "a measure must derive from ssmbench.measures.base.Measure"


def gives_an_interval_and_a_unit(subject: Subject) -> None:
    """For every kind of system in its time domains: an interval of numbers, lower end first, that
    contains the value, and a unit.
    """
    for name, system, measure in _cases(subject):
        found = measure.measure(system)
        ends = (found.proved.lower, found.proved.upper)
        assert not any(map(math.isnan, ends)), f"{name}: the proved interval has an end that is NaN"
        assert ends[0] <= ends[1], f"{name}: the proved interval {ends} has its ends exchanged"
        assert isinstance(found.unit, str), f"{name}: the unit is no text"


def attack_stays_within_the_proof(subject: Subject) -> None:
    """The attack never reaches more than is proved to be possible, also at extreme poles."""
    for name, system, measure in _cases(subject):
        found = measure.measure(system)
        assert not found.is_broken, f"{name}: the attack reached {_both(found)}"


def attack_comes_near_the_proof(subject: Subject) -> None:
    """On some example the attack reaches at least half of the proved bound: else one is idle."""
    found = [(name, measure.measure(system)) for name, system, measure in _cases(subject)]
    compared = [(n, f) for n, f in found if math.isfinite(f.bound) and math.isfinite(f.attacked)]
    skip_unless(bool(compared), "no example has a finite bound and a finite attack")
    gaps = [abs(f.bound - f.attacked) <= _NEAR * abs(f.bound) for _, f in compared]
    worst, figures = compared[0]
    assert any(gaps), f"{worst}: the attack reached {_both(figures)}: less than half of it"


def the_worst_of_a_batch_counts(subject: Subject) -> None:
    """Of systems on separate channels it gives the worst, and the same as of that one alone."""
    batches = [case for case in _cases(subject) if case[1].heads > 1]
    skip_unless(bool(batches), "no example of its time domain has several systems")
    for name, system, measure in batches:
        single = [measure.measure(system.head(h)).bound for h in range(system.heads)]
        worst = (max if measure.larger_is_worse else min)(single)
        whole = measure.measure(system).bound
        assert whole == worst, f"{name}: {whole:g} of the batch, but the worst of it has {worst:g}"


def refuses_time_varying_systems(subject: Subject) -> None:
    """A time-varying system is refused with a reason."""
    D = torch.ones(1, 1, 1).double()
    lam, places = 0.5 * torch.ones(1, 2, 1, 1).double(), torch.ones(1, 2, 1, 1, 1).double()
    try:
        subject.build().measure(TimeVaryingDiagonal(lam=lam, B=places, C=places, D=D))
    except UsageError:
        return
    raise AssertionError("a time-varying system must be refused with a UsageError")


CHECKS = (
    builds,
    gives_an_interval_and_a_unit,
    attack_stays_within_the_proof,
    attack_comes_near_the_proof,
    the_worst_of_a_batch_counts,
    refuses_time_varying_systems,
)


def example_lti_systems() -> dict[str, LinearSystem]:
    """Small stable systems of all types, of one and of several channels, with two heads where they
    are cheap; one has a pole at a distance of 1e-3 from the stability boundary."""
    one, half = torch.ones(2, 1, 1).double(), torch.full((2, 1, 1), 0.5).double()
    lag = torch.tensor([[-1.0], [-0.25]]).double()
    pairs = torch.polar(torch.tensor([[0.9, 0.999]]), torch.tensor([[0.4, 2.0]])).to(
        torch.complex128
    )
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    A = random(1, 4, 4)
    A = A / (1.25 * torch.linalg.eigvals(A).abs().max())
    B, C = random(1, 4, 2), random(1, 2, 4)
    dt = torch.ones(1).double()
    D = random(1, 2, 2)
    modes = {"B": torch.complex(random(1, 2, 1), random(1, 2, 1))}
    modes["C"] = torch.complex(random(1, 1, 2), random(1, 1, 2))
    resonator = torch.tensor([[[0.0, 1.0], [-1.0, -0.2]]]).double()
    return {
        "two lags": ContinuousDiagonal(lam=lag, B=one, C=one, D=0 * one, dt=dt.expand(2)),
        "two discrete lags": DiscreteDiagonal(lam=-lag / 2, B=one, C=half, D=half),
        "conjugate pairs": DiscreteDiagonal(lam=pairs, D=one[:1], conjugate=True, **modes),
        "two by two": DiscreteDense(A=A, B=B, C=C, D=D),
        "resonator": ContinuousDense(
            A=resonator,
            B=torch.tensor([[[0.0], [1.0]]]).double(),
            C=torch.tensor([[[1.0, 0.0]]]).double(),
            D=0 * one[:1],
            dt=dt,
        ),
    }


def _cases(subject: Subject) -> Iterator[tuple[str, LinearSystem, Measure]]:
    measure = subject.build()
    for name, system in example_lti_systems().items():
        if isinstance(system, measure.domains):
            yield name, system, measure


def _both(found: Measured) -> str:
    return f"{found.attacked:g}, and the proved bound is {found.bound:g}"
