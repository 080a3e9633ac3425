"""Conformance checks of discretizers: the declared facts, measured independently."""

from __future__ import annotations

import math

import torch

from ssmbench.analysis.hinf import hinf_norm
from ssmbench.discretizers.base import Discretizer
from ssmbench.nn.contracts import check_built
from ssmbench.nn.system_contracts import check_discretized
from ssmbench.systems import ContinuousDiagonal
from ssmbench.testing.modules import total
from ssmbench.testing.oscillators import (
    as_oscillator,
    check_free_motion,
    check_oscillators_agree,
)
from ssmbench.testing.report import Subject, skip_unless


def builds(subject: Subject) -> None:
    """It can be built."""
    check_built(subject.entry, subject.build(), Discretizer)


def keeps_sizes(subject: Subject) -> None:
    """The discrete system has as many heads, states, inputs and outputs as the continuous one."""
    method, system = subject.build(), _resonators()
    system = system if method.samples(ContinuousDiagonal) else as_oscillator(system)
    check_discretized(method, system, method(system))


def order_as_declared(subject: Subject) -> None:
    """The order of the error of the stability function, as declared."""
    method = subject.build()
    order, declared = measured_order(method), method.facts.order
    assert order == declared, f"declares order {declared}, measured {order}"


def a_stability_as_declared(subject: Subject) -> None:
    """|R| <= 1 on the left half-plane if and only if A-stability is declared."""
    method = subject.build()
    measured = measured_a_stability(method)
    assert measured == method.facts.a_stable, (
        f"declares a_stable={method.facts.a_stable}, measured {measured}"
    )


def l_stability_as_declared(subject: Subject) -> None:
    """A-stable with R = 0 at infinity if and only if L-stability is declared."""
    method = subject.build()
    measured = abs(_r(method, -1e9)) < 1e-6 and measured_a_stability(method)
    assert measured == method.facts.l_stable, (
        f"declares l_stable={method.facts.l_stable}, measured {measured}"
    )


def stability_intervals_as_declared(subject: Subject) -> None:
    """How far |R| <= 1 holds along the negative real and the imaginary axis, as declared."""
    method = subject.build()
    for axis, direction in (("real", -1), ("imaginary", 1j)):
        declared = getattr(method.facts, f"{axis}_interval")
        found = measured_interval(method, direction)
        assert declared is None or math.isclose(found, declared, rel_tol=1e-6), (
            f"declares the {axis} interval {declared}, measured {found}"
        )


def gain_preservation_as_declared(subject: Subject) -> None:
    """The H-infinity norm of resonators is unchanged if and only if that is declared."""
    method = subject.build()
    measured = gain_distortion(method) < 1e-8
    declared = method.facts.preserves_gain
    assert measured == declared, f"declares preserves_gain={declared}, measured {measured}"


def increment_is_the_stability_function_minus_one(subject: Subject) -> None:
    """``increment(z)`` is R(z) - 1."""
    method = subject.build()
    z = torch.complex(-torch.rand(20), torch.randn(20)).to(torch.complex128)
    found, expected = method.increment(z), method.stability_function(z) - 1
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12), "increment is not R - 1"


def integrators_stay_integrators(subject: Subject) -> None:
    """A pole at s = 0 becomes a pole at z = 1, and its gradient is finite."""
    method = subject.build()
    skip_unless(method.samples(ContinuousDiagonal), "samples oscillators only")
    _check_zero_poles(method)


def dense_and_diagonal_agree(subject: Subject) -> None:
    """A diagonal system and the same system in dense form have the same frequency response."""
    method = subject.build()
    skip_unless(method.samples(ContinuousDiagonal), "samples oscillators only")
    _check_dense_agrees(method)


def free_mass_has_a_double_pole_at_one(subject: Subject) -> None:
    """An oscillator without stiffness and damping gets a double pole at z = 1; its gradient is
    finite.
    """
    method = subject.build()
    skip_unless(not method.samples(ContinuousDiagonal), "samples first-order systems")
    check_free_motion(method)


def free_mass_does_not_change_other_oscillators(subject: Subject) -> None:
    """An uncoupled oscillator without stiffness and damping does not change the frequency response
    of the others.
    """
    method = subject.build()
    skip_unless(not method.samples(ContinuousDiagonal), "samples first-order systems")
    check_oscillators_agree(method)


def elementwise_rule_is_the_method(subject: Subject) -> None:
    """If it gives scans a rule by which to sample real modes (``elementwise``), the rule does what
    ``diagonal`` does.
    """
    method = subject.build()
    skip_unless(method.sampling() is not None, "gives no elementwise rule")
    check_elementwise(method)


CHECKS = (
    builds,
    keeps_sizes,
    order_as_declared,
    a_stability_as_declared,
    l_stability_as_declared,
    stability_intervals_as_declared,
    gain_preservation_as_declared,
    increment_is_the_stability_function_minus_one,
    integrators_stay_integrators,
    dense_and_diagonal_agree,
    free_mass_has_a_double_pole_at_one,
    free_mass_does_not_change_other_oscillators,
    elementwise_rule_is_the_method,
)


def measured_order(method: Discretizer) -> float:
    """The order p in R(z) = e^z + O(z^(p+1)), from the slope of the error; infinite if R is e^z."""
    h = 2.0 ** -torch.arange(1, 9, dtype=torch.float64)
    z = h * torch.exp(torch.tensor(2.0j, dtype=torch.complex128))
    error = (method.stability_function(z) - torch.exp(z)).abs()
    clear = int((error > 1e-12).sum())  # smaller errors are dominated by rounding
    if clear < 2:
        return math.inf
    return float(torch.round((error[clear - 2] / error[clear - 1]).log2()) - 1)


def measured_a_stability(method: Discretizer) -> bool:
    """Whether |R| <= 1 on the left half-plane and on the imaginary axis, at sample points."""
    modulus = torch.logspace(-4, 4, 400, dtype=torch.float64)
    angle = torch.linspace(math.pi / 2, math.pi, 41, dtype=torch.float64)
    z = (modulus[:, None] * torch.exp(1j * angle)).flatten()
    z = torch.complex(z.real.clamp_max(0), z.imag)
    return bool(method.stability_function(z).abs().max() <= 1 + 1e-11)


def measured_interval(method: Discretizer, direction: complex) -> float:
    """The largest r such that |R| <= 1 from 0 to r times ``direction``; infinite if it exceeds 1e5.

    The search starts at 0.05, where a method that is unstable for small steps is already unstable,
    and proceeds in steps of 1%.
    """
    t = 0.05 * 1.01 ** torch.arange(1460, dtype=torch.float64)
    outside = (method.stability_function(t * direction).abs() > 1 + 1e-11).nonzero()
    if len(outside) == 0:
        return math.inf
    low, high = (0.0 if i < 0 else t[i].item() for i in (int(outside[0]) - 1, int(outside[0])))
    while low > 0 and high - low > 1e-9 * high:
        middle = (low + high) / 2
        inside = abs(_r(method, middle * direction)) <= 1 + 1e-12
        low, high = (middle, high) if inside else (low, middle)
    return low


def gain_distortion(method: Discretizer) -> float:
    """The largest relative change of the H-infinity norm over four resonators."""
    system = _resonators()
    system = as_oscillator(system) if not method.samples(ContinuousDiagonal) else system
    discrete = hinf_norm(method(system)).norm
    change = (discrete / hinf_norm(system).norm - 1).abs()
    return change.max().item()


def _resonators() -> ContinuousDiagonal:
    """Four heads with one lightly damped conjugate pair each, of H-infinity norms far above |D|."""
    w = torch.tensor([0.1, 0.5, 1.0, 2.0], dtype=torch.float64)
    lam = torch.complex(-0.02 * torch.ones_like(w), w)[:, None]
    one = torch.ones(4, 1, 1, dtype=torch.complex128)
    return ContinuousDiagonal(
        lam=lam,
        B=one,
        C=one * (1 - 0.5j),
        D=0.3 * one.real,
        dt=torch.ones(4, dtype=torch.float64),
        conjugate=True,
    )


def _r(method: Discretizer, z: complex) -> complex:
    return complex(method.stability_function(torch.tensor([z], dtype=torch.complex128)).item())


def _check_zero_poles(method: Discretizer) -> None:
    lam = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    B, C = torch.ones(1, 2, 1, dtype=torch.float64), torch.ones(1, 1, 2, dtype=torch.float64)
    D, dt = torch.zeros(1, 1, 1, dtype=torch.float64), torch.full((1,), 0.1, dtype=torch.float64)
    system = method(ContinuousDiagonal(lam=lam, B=B, C=C, D=D, dt=dt))
    energy = total(tensor.sum() for tensor in system.tensors().values())
    (gradient,) = torch.autograd.grad(energy, lam)
    assert system.is_finite(), "an integrator (lam = 0) gives a system that is not finite"
    assert torch.isfinite(gradient).all(), "the gradient at lam = 0 is not finite"
    assert torch.allclose(system.lam, torch.ones_like(lam)), (
        "the pole of an integrator (lam = 0) must be 1"
    )


def check_elementwise(method: Discretizer) -> None:
    """Raise an AssertionError unless the method's rule samples modes as its ``diagonal`` does."""
    rule = method.sampling()
    assert rule is not None, "the method has no elementwise rule"
    one = torch.ones(5, 1, 1, dtype=torch.float64)
    lam = -torch.tensor([[0.0], [1e-9], [0.3], [2.0], [40.0]], dtype=torch.float64)
    dt = torch.tensor([0.1, 0.7, 0.5, 0.9, 0.6], dtype=torch.float64)
    found = method.diagonal(ContinuousDiagonal(lam=lam, B=2 * one, C=3 * one, D=one, dt=dt))
    steps = rule.steps(dt[:, None], lam)
    k, f = (default if x is None else x for x, default in ((steps.k, one[..., 0]), (steps.f, 0)))
    expected = {"lam": steps.a, "B": 2 * steps.e, "C": 3 * k, "D": 1 + 6 * f}
    for name, value in expected.items():
        own = getattr(found, name).reshape(-1)
        wanted = (value + 0 * lam).reshape(-1)
        assert torch.allclose(own, wanted, rtol=1e-11), (
            f"the elementwise rule gives another {name} than diagonal does"
        )


def _check_dense_agrees(method: Discretizer) -> None:
    lam = torch.complex(-torch.rand(2, 3), torch.randn(2, 3)).to(torch.complex128)
    system = ContinuousDiagonal(
        lam=lam,
        B=torch.randn(2, 3, 2, dtype=torch.complex128),
        C=torch.randn(2, 2, 3, dtype=torch.complex128),
        D=torch.randn(2, 2, 2, dtype=torch.float64),
        dt=torch.tensor([0.1, 0.3], dtype=torch.float64),
        conjugate=True,
    )
    omega = torch.linspace(0.1, 3, 7, dtype=torch.float64)
    diagonal = method(system).frequency_response(omega)
    dense = method(system.to_dense()).frequency_response(omega)
    assert torch.allclose(diagonal, dense, rtol=1e-9), (
        "the frequency responses of the diagonal and of the dense form differ"
    )
