"""The conformance kit's part for discretizers of oscillators."""

from __future__ import annotations

import dataclasses

import torch

from ssmbench.discretizers.base import Discretizer
from ssmbench.systems import ContinuousDiagonal, ContinuousOscillator
from ssmbench.testing.modules import total


def as_oscillator(system: ContinuousDiagonal) -> ContinuousOscillator:
    """Pairs of modes with B = 1 and one output: 2 Re(c / (s - lam)) over a common denominator."""
    lam, C = system.lam, system.C
    return ContinuousOscillator(
        a=lam.abs().square(),
        g=-2 * lam.real,
        B=torch.ones_like(system.B.real),
        C=-2 * (C * lam.conj()[:, None]).real,
        C_v=2 * C.real,
        D=system.D,
        dt=system.dt,
    )


def _random_oscillators(a: list[float], g: list[float]) -> ContinuousOscillator:
    n, wide = len(a), torch.float64
    return ContinuousOscillator(
        a=torch.tensor([a], dtype=wide, requires_grad=True),
        g=torch.tensor([g], dtype=wide, requires_grad=True),
        B=torch.randn(1, n, 2, dtype=wide),
        C=torch.randn(1, 3, n, dtype=wide),
        C_v=torch.randn(1, 3, n, dtype=wide),
        D=torch.randn(1, 3, 2, dtype=wide),
        dt=torch.full((1,), 0.1, dtype=wide),
    )


def check_free_motion(method: Discretizer) -> None:
    """A = g = 0: a double pole at 1, with a gradient."""
    free = _random_oscillators([0.0, 0.0], [0.0, 0.0])
    system = method(free)
    energy = total(tensor.sum() for tensor in system.tensors().values())
    gradients = torch.autograd.grad(energy, (free.a, free.g))
    assert system.is_finite(), "free motion gives numbers that are not finite"
    assert all(g.isfinite().all() for g in gradients), "no gradient at free motion"
    assert (system.poles() - 1).abs().max() < 1e-6, "free motion has the double pole 1"


def check_oscillators_agree(method: Discretizer) -> None:
    """A neighbour in free motion that is neither driven nor seen changes no response."""
    pairs = _random_oscillators([2.0, 0.0], [0.3, 0.0])
    pairs = dataclasses.replace(pairs, B=pairs.B * pairs.a.mT, C=pairs.C * pairs.a)
    pairs = dataclasses.replace(pairs, C_v=pairs.C_v * pairs.a)
    alone = dataclasses.replace(
        pairs,
        **{k: getattr(pairs, k)[..., :1] for k in ("a", "g", "C", "C_v")},
        B=pairs.B[:, :1],
    )
    omega = torch.linspace(0.1, 3, 7, dtype=torch.float64)
    responses = [method(system).frequency_response(omega) for system in (pairs, alone)]
    assert torch.allclose(*responses, rtol=1e-9), "its two forms disagree"
