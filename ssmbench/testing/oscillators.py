"""Checks of discretizers for oscillators."""

from __future__ import annotations

import dataclasses

import torch

from ssmbench.discretizers.base import Discretizer
from ssmbench.systems import ContinuousDiagonal, ContinuousOscillator
from ssmbench.testing.modules import total


def as_oscillator(system: ContinuousDiagonal) -> ContinuousOscillator:
    """The bank of oscillators with the transfer functions of ``system``, which must have conjugate
    pairs, B = 1 and one output: 2 Re(c / (s - lam)) with a common denominator.
    """
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
    n, dtype = len(a), torch.float64
    return ContinuousOscillator(
        a=torch.tensor([a], dtype=dtype, requires_grad=True),
        g=torch.tensor([g], dtype=dtype, requires_grad=True),
        B=torch.randn(1, n, 2, dtype=dtype),
        C=torch.randn(1, 3, n, dtype=dtype),
        C_v=torch.randn(1, 3, n, dtype=dtype),
        D=torch.randn(1, 3, 2, dtype=dtype),
        dt=torch.full((1,), 0.1, dtype=dtype),
    )


def check_free_motion(method: Discretizer) -> None:
    """For a = g = 0 (no stiffness, no damping), the discrete system has a double pole at 1, is
    finite and has finite gradients.

    Raises:
        AssertionError: it does not.
    """
    free = _random_oscillators([0.0, 0.0], [0.0, 0.0])
    system = method(free)
    energy = total(tensor.sum() for tensor in system.tensors().values())
    gradients = torch.autograd.grad(energy, (free.a, free.g))
    assert system.is_finite(), "an oscillator with a = g = 0 gives a system that is not finite"
    assert all(g.isfinite().all() for g in gradients), "the gradient at a = g = 0 is not finite"
    double = (system.poles() - 1).abs().max() < 1e-6
    assert double, "an oscillator with a = g = 0 must have a double pole at 1"


def check_oscillators_agree(method: Discretizer) -> None:
    """Adding an oscillator with a = g = 0 that has no input and no output does not change the
    frequency response of the others. A double pole cannot be diagonalised, so the system with it
    may be dense and the one without it diagonal.

    Raises:
        AssertionError: the response changes.
    """
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
    same = torch.allclose(*responses, rtol=1e-9)
    assert same, (
        "an uncoupled oscillator with a = g = 0 changes the frequency response of the others"
    )
