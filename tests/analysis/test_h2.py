"""The H2 norm against SciPy, python-control, closed forms and the impulse response."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench.analysis.gramians import one_minus_square
from ssmbench.analysis.h2 import h2_norm
from ssmbench.analysis.markov import markov_parameters
from tests.analysis.systems_for_tests import (
    dense,
    diagonal,
    random_bank,
    random_matrices,
    resonator,
)

TIMES = pytest.mark.parametrize("discrete", [True, False], ids=["discrete", "continuous"])


def by_scipy(A, B, C, D, discrete: bool) -> float:
    if discrete:
        X = scipy.linalg.solve_discrete_lyapunov(A, B @ B.conj().T)
    else:
        X = scipy.linalg.solve_continuous_lyapunov(A, -B @ B.conj().T)
        D = 0 * D
    return math.sqrt((np.trace(C @ X @ C.conj().T) + np.trace(D @ D.conj().T)).real)


@TIMES
@pytest.mark.parametrize("complex_", [False, True])
def test_dense_agrees_with_scipy(discrete, complex_):
    rng = np.random.default_rng(0)
    for _ in range(20):
        states = int(rng.integers(1, 16))
        inputs, outputs = (int(n) for n in rng.integers(1, 5, 2))
        A, B, C, D = random_matrices(
            rng, states, inputs, outputs, gap=0.01, discrete=discrete, complex_=complex_
        )
        D = D if discrete else 0 * D
        found = float(h2_norm(dense(A, B, C, D, discrete=discrete)))
        assert found == pytest.approx(by_scipy(A, B, C, D, discrete), rel=1e-9)


@TIMES
def test_agrees_with_python_control(discrete):
    control = pytest.importorskip("control")
    A, B, C, D = random_matrices(np.random.default_rng(1), 6, 2, 3, gap=0.1, discrete=discrete)
    D = D if discrete else 0 * D
    expected = control.norm(control.ss(A, B, C, D, dt=1 if discrete else 0), 2)
    assert float(h2_norm(dense(A, B, C, D, discrete=discrete))) == pytest.approx(expected)


@TIMES
@pytest.mark.parametrize("conjugate", [True, False])
def test_diagonal_agrees_with_dense(discrete, conjugate):
    rng = np.random.default_rng(2)
    kind = {"discrete": discrete, "conjugate": conjugate, "inputs": 2, "outputs": 3}
    bank = random_bank(rng, 4, 6, log_gaps=(-3.0, -0.5), **kind)
    bank = bank if discrete else dataclasses.replace(bank, D=0 * bank.D)
    assert torch.allclose(h2_norm(bank), h2_norm(bank.to_dense()), rtol=1e-9)


def test_it_is_the_energy_of_the_impulse_response():
    rng = np.random.default_rng(3)
    bank = random_bank(rng, 3, 4, discrete=True, conjugate=True, log_gaps=(-2.0, -0.5))
    energy = markov_parameters(bank, 4000).square().flatten(1).sum(-1)
    assert torch.allclose(h2_norm(bank), energy.sqrt(), rtol=1e-9)


@pytest.mark.parametrize("gap", [0.5, 1e-2, 1e-4, 1e-6, 1e-8, 1e-12])
@pytest.mark.parametrize("angle", [0.0, 0.7, 2.4])
def test_one_mode_near_the_circle(gap, angle):
    """1 / sqrt(1 - |lam|^2), the square in exact arithmetic."""
    pole = (1 - gap) * np.exp(1j * angle)
    one = np.ones((1, 1, 1), complex)
    exact = 1 - Fraction(float(pole.real)) ** 2 - Fraction(float(pole.imag)) ** 2
    found = float(h2_norm(diagonal([[pole]], one, one, 0 * one, discrete=True)))
    assert found == pytest.approx(1 / math.sqrt(exact), rel=1e-14)


@given(st.floats(-1, 1), st.floats(-1, 1))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_one_minus_square_is_exact_to_rounding(re, im):
    exact = float(1 - Fraction(re) ** 2 - Fraction(im) ** 2)
    found = float(one_minus_square(torch.tensor(complex(re, im), dtype=torch.complex128)))
    assert found == pytest.approx(exact, rel=1e-12, abs=1e-30)


def test_resonator():
    """w0^2 / (s^2 + 2 zeta w0 s + w0^2): sqrt(w0 / 4 zeta)."""
    assert float(h2_norm(resonator(2.0, 0.05))) == pytest.approx(math.sqrt(2.0 / 0.2))


def test_infinite_where_there_is_none():
    one = np.ones((3, 1, 1))
    bank = diagonal([[1.0], [np.nan], [0.5]], one, one, one, discrete=True)
    for system in (bank, bank.to_dense()):
        norm = h2_norm(system)
        assert norm[:2].tolist() == [math.inf, math.inf]
        assert float(norm[2]) == pytest.approx(math.sqrt(1 + 1 / 0.75))
    feedthrough = diagonal([[-1.0], [-2.0]], one[:2], one[:2], [[[0.0]], [[1.0]]], discrete=False)
    assert h2_norm(feedthrough).tolist() == [pytest.approx(math.sqrt(0.5)), math.inf]


@TIMES
def test_gradient(discrete):
    rng = np.random.default_rng(6)
    bank = random_bank(rng, 1, 3, discrete=discrete, conjugate=True, log_gaps=(-1.0, -0.3))
    bank = bank if discrete else dataclasses.replace(bank, D=0 * bank.D)
    for system in (bank, bank.to_dense()):
        C = system.C.clone().requires_grad_()
        B = system.B.clone().requires_grad_()
        assert torch.autograd.gradcheck(
            lambda B, C, s=system: h2_norm(dataclasses.replace(s, B=B, C=C)), (B, C)
        )


def test_zero_system_has_norm_and_gradient_zero():
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    C = torch.zeros(1, 1, 1, dtype=torch.float64, requires_grad=True)
    bank = diagonal([[0.5]], one, one, 0 * one, discrete=True)
    norm = h2_norm(dataclasses.replace(bank, C=C))
    norm.sum().backward()
    assert norm.tolist() == [0.0]
    assert C.grad.tolist() == [[[0.0]]]
