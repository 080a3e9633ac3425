"""The discrete adjoint: l' delta is one number at every step, through every scan's backward.

delta[k+1] = A delta[k] is a disturbance of the state; l[k] = d loss / d x[k] is what reverse-mode
differentiation finds: exactly the step of the conjugate tableau on the adjoint equation.
"""

from __future__ import annotations

import pytest
import torch

from ssmbench import registry
from ssmbench.discretizers.runge_kutta import RungeKutta
from ssmbench.discretizers.tableau import Tableau
from ssmbench.systems import ContinuousDense, DiscreteDense, DiscreteSystem
from ssmbench.testing import example_systems

SEGMENTS = (1, 7, 1, 16, 3)


def adjoints(backend, system: DiscreteSystem, weight: torch.Tensor) -> list[torch.Tensor]:
    """l (H, N) at the beginning of every segment and at the end; one backward pass for all."""
    generator = torch.Generator().manual_seed(0)
    dtype = torch.promote_types(system.dynamics.dtype, system.B.dtype)
    x = torch.randn(1, *weight.shape, dtype=dtype, generator=generator).requires_grad_()
    states = [x]
    for length in SEGMENTS:
        u = torch.randn(1, length, system.heads, system.inputs, generator=generator)
        _, x = backend(system, u.to(system.D.real.dtype), x)
        x.retain_grad()
        states.append(x)
    (weight.conj() * x[0]).real.sum().backward()
    return [state.grad[0] for state in states]


def disturbances(system: DiscreteSystem) -> list[torch.Tensor]:
    """delta (H, N) at the same steps, one step at a time in double precision."""
    wide = system.double().dynamics
    delta = torch.randn(
        wide.shape[:2], dtype=wide.dtype, generator=torch.Generator().manual_seed(1)
    )
    found = [delta]
    for length in SEGMENTS:
        for _ in range(length):
            dense = isinstance(system, DiscreteDense)
            delta = torch.einsum("hij,hj->hi", wide, delta) if dense else wide * delta
        found.append(delta)
    return found


def pairings(lams: list[torch.Tensor], deltas: list[torch.Tensor]) -> torch.Tensor:
    """Re <l, delta> at every boundary (S,)."""
    pairs = zip(lams, deltas, strict=True)
    return torch.stack([(a.to(d).conj() * d).real.sum() for a, d in pairs])


@pytest.mark.parametrize("entry", registry.scans.entries(), ids=lambda e: e.name)
def test_the_pairing_is_conserved_through_every_scan(entry):
    backend, checked = entry.build(), 0
    torch.manual_seed(0)
    for single in example_systems():
        for system, rounding in ((single, 3e-5), (single.double(), 1e-12)):
            if backend.unsupported_reason(system, torch.device("cpu")) is not None:
                continue
            weight = torch.randn(system.heads, system.states, dtype=system.dynamics.dtype)
            lams, deltas = adjoints(backend, system, weight), disturbances(system)
            products = pairings(lams, deltas)
            size = max(float((a.abs() * d.abs()).sum()) for a, d in zip(lams, deltas, strict=True))
            assert (products - products[0]).abs().max() <= rounding * size
            assert products[0].abs() > 1e-3 * products.abs().max()
            checked += 1
    if not checked:
        pytest.skip(f"{entry.name} runs no system on this machine's CPU")


def test_a_wrong_adjoint_is_seen():
    """A backward that forgets the conjugate of complex poles breaks the conservation."""
    torch.manual_seed(0)
    system = next(s for s in example_systems() if s.dynamics.is_complex()).double()
    weight = torch.randn(system.heads, system.states, dtype=system.dynamics.dtype)
    lams = adjoints(registry.scans.get("reference").build(), system, weight)
    products = pairings([lam.conj() for lam in lams], disturbances(system))
    assert (products - products[0]).abs().max() > 1e-3


WITH_CONJUGATE = [
    e.name
    for e in registry.discretizers
    if issubclass(e.factory, RungeKutta) and e.build().tableau.b.all()
]


def of_tableau(tableau: Tableau) -> RungeKutta:
    class Planted(RungeKutta):
        data = tableau

    return Planted(registry.discretizers.get("rk4").config())


@pytest.mark.parametrize("name", WITH_CONJUGATE)
def test_the_conjugate_tableau_on_the_adjoint_equation_undoes_the_transposed_step(name):
    """l' = -A' l by the conjugate tableau: l[k+1] = A_bar^-T l[k], so l[k] = A_bar' l[k+1]."""
    generator = torch.Generator().manual_seed(3)
    A = torch.randn(1, 4, 4, dtype=torch.float64, generator=generator)
    one = torch.ones(1, 4, 1, dtype=torch.float64)
    dt = torch.tensor([0.2], dtype=torch.float64)

    def system(matrix):
        return ContinuousDense(A=matrix, B=one, C=one.mT, D=one[:, :1], dt=dt)

    method = registry.discretizers.get(name).build()
    forwards = method(system(A)).A
    adjoint = of_tableau(method.tableau.costate_tableau())(system(-A.mT)).A
    eye = torch.eye(4, dtype=torch.float64)[None]
    torch.testing.assert_close(adjoint.mT @ forwards, eye, rtol=0, atol=1e-11)
