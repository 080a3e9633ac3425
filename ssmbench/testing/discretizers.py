"""The conformance kit's part for discretizers: facts, measured by other means."""

from __future__ import annotations

import math

import torch

from ssmbench.analysis.hinf import hinf_norm
from ssmbench.discretizers.base import Discretizer
from ssmbench.registry import Entry
from ssmbench.systems import ContinuousDiagonal
from ssmbench.testing.oscillators import as_oscillator, check_free_motion, check_oscillators_agree


def conform_discretizer(entry: Entry[Discretizer]) -> None:
    """Its facts against measurement by other means; zero poles; dense against diagonal."""
    method = entry.build()
    facts = method.facts
    order = measured_order(method)
    assert order == facts.order, f"{entry.name}: declares order {facts.order}, measured {order}"
    measured = measured_a_stability(method)
    assert measured == facts.a_stable, f"{entry.name}: A-stability measured {measured}"
    damped = abs(_r(method, -1e9)) < 1e-6
    assert (damped and measured) == facts.l_stable, f"{entry.name}: L-stability measured {damped}"
    for axis, direction in (("real", -1), ("imaginary", 1j)):
        found, declared = measured_interval(method, direction), getattr(facts, f"{axis}_interval")
        assert declared is None or math.isclose(found, declared, rel_tol=1e-6), (
            f"{entry.name}: declares the {axis} interval {declared}, measured {found}"
        )
    kept = gain_distortion(method) < 1e-8
    assert kept == facts.preserves_gain, f"{entry.name}: gain preservation measured {kept}"
    _check_increment(method, entry.name)
    if not method.samples(ContinuousDiagonal):
        check_free_motion(method, entry.name)
        check_oscillators_agree(method, entry.name)
        return
    _check_zero_poles(method, entry.name)
    _check_dense_agrees(method, entry.name)


def measured_order(method: Discretizer) -> float:
    """p of ``R(z) = e^z + O(z^(p+1))`` from a fitted slope; infinite where R is e^z."""
    h = 2.0 ** -torch.arange(1, 9, dtype=torch.float64)
    z = h * torch.exp(torch.tensor(2.0j, dtype=torch.complex128))
    error = (method.stability_function(z) - torch.exp(z)).abs()
    clear = int((error > 1e-12).sum())  # below that, the slope is one of rounding
    if clear < 2:
        return math.inf
    return float(torch.round((error[clear - 2] / error[clear - 1]).log2()) - 1)


def measured_a_stability(method: Discretizer) -> bool:
    """Whether |R| <= 1 on the left half-plane and on the imaginary axis, by sampling."""
    size = torch.logspace(-4, 4, 400, dtype=torch.float64)
    angle = torch.linspace(math.pi / 2, math.pi, 41, dtype=torch.float64)
    z = (size[:, None] * torch.exp(1j * angle)).flatten()
    z = torch.complex(z.real.clamp_max(0), z.imag)
    return bool(method.stability_function(z).abs().max() <= 1 + 1e-11)


def measured_interval(method: Discretizer, direction: complex) -> float:
    """Largest r with |R| <= 1 from 0 to r times ``direction``; infinite beyond 1e5.

    In steps of 1% from 0.05 on: a method that is unstable from the start is so there already.
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
    """Largest relative change of the H-infinity norm over resonators that stay stable."""
    w = torch.tensor([0.1, 0.5, 1.0, 2.0], dtype=torch.float64)
    lam = torch.complex(-0.02 * torch.ones_like(w), w)[:, None]
    one = torch.ones(4, 1, 1, dtype=torch.complex128)
    system = ContinuousDiagonal(
        lam=lam,
        B=one,
        C=one * (1 - 0.5j),
        D=0.3 * one.real,
        dt=torch.ones(4, dtype=torch.float64),
        conjugate=True,
    )
    system = as_oscillator(system) if not method.samples(ContinuousDiagonal) else system
    discrete = hinf_norm(method(system)).norm
    change = (discrete / hinf_norm(system).norm - 1).abs()
    return change.max().item()


def _r(method: Discretizer, z: complex) -> complex:
    return complex(method.stability_function(torch.tensor([z], dtype=torch.complex128)).item())


def _check_increment(method: Discretizer, name: str) -> None:
    z = torch.complex(-torch.rand(20), torch.randn(20)).to(torch.complex128)
    found, wanted = method.increment(z), method.stability_function(z) - 1
    assert torch.allclose(found, wanted, rtol=1e-9, atol=1e-12), f"{name}: increment is not R - 1"


def _check_zero_poles(method: Discretizer, name: str) -> None:
    lam = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    B, C = torch.ones(1, 2, 1, dtype=torch.float64), torch.ones(1, 1, 2, dtype=torch.float64)
    D, dt = torch.zeros(1, 1, 1, dtype=torch.float64), torch.full((1,), 0.1, dtype=torch.float64)
    system = method(ContinuousDiagonal(lam=lam, B=B, C=C, D=D, dt=dt))
    total = sum(tensor.sum() for tensor in system.tensors().values())
    (gradient,) = torch.autograd.grad(total, lam)
    assert system.is_finite(), f"{name}: an integrator (lam = 0) gives numbers that are not finite"
    assert torch.isfinite(gradient).all(), f"{name}: the gradient at lam = 0 is not finite"
    assert torch.allclose(system.lam, torch.ones_like(lam)), f"{name}: an integrator's pole is 1"


def _check_dense_agrees(method: Discretizer, name: str) -> None:
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
    assert torch.allclose(diagonal, dense, rtol=1e-9), f"{name}: diagonal and dense disagree"
