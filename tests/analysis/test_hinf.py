"""The H-infinity norm against SLICOT, closed forms, itself in other coordinates, and gradients."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench.analysis.hinf import hinf_norm
from ssmbench.systems import LinearSystem
from tests.analysis.systems_for_tests import (
    dense,
    diagonal,
    random_bank,
    random_matrices,
    resonator,
)

TIMES = pytest.mark.parametrize("discrete", [True, False], ids=["discrete", "continuous"])
few = settings(max_examples=25, deadline=None, derandomize=True)


def norm_of(system: LinearSystem) -> float:
    return float(hinf_norm(system).norm.max())


def relative(found: float, expected: float) -> float:
    return abs(found - expected) / abs(expected)


# --- an independent implementation -------------------------------------------------------------


@TIMES
@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_slicot(discrete, seed):
    slycot = pytest.importorskip("slycot")
    rng = np.random.default_rng(seed)
    for _ in range(30):
        states = int(rng.integers(1, 16))
        inputs, outputs = (int(n) for n in rng.integers(1, 5, 2))
        gap = 10 ** rng.uniform(-4, -0.3)
        A, B, C, D = random_matrices(rng, states, inputs, outputs, gap=gap, discrete=discrete)
        time = "D" if discrete else "C"
        # ab13dd overwrites its arguments
        arrays = [matrix.copy(order="F") for matrix in (A, np.eye(states), B, C, D)]
        expected, _ = slycot.ab13dd(
            time, "I", "N", "D", states, inputs, outputs, *arrays, tol=1e-10
        )
        found = norm_of(dense(A, B, C, D, discrete=discrete))
        assert relative(found, expected) < 1e-8, (states, inputs, outputs, gap)


@TIMES
def test_agrees_with_slicot_on_hippo(discrete):
    """Lower-triangular, far from normal: its eigenvectors have a condition number above 1e9."""
    slycot = pytest.importorskip("slycot")
    rng = np.random.default_rng(3)
    states = 32
    root = np.sqrt(2 * np.arange(states) + 1)
    A = -np.tril(np.outer(root, root), -1) - np.diag(np.arange(states) + 1.0)
    B, C, D = root[:, None], rng.standard_normal((1, states)), np.ones((1, 1))
    if discrete:
        inverse = np.linalg.inv(np.eye(states) - 0.005 * A)
        A, B = inverse @ (np.eye(states) + 0.005 * A), 0.01 * inverse @ B
    arrays = [matrix.copy(order="F") for matrix in (A, np.eye(states), B, C, D)]
    expected, _ = slycot.ab13dd(
        "D" if discrete else "C", "I", "N", "D", states, 1, 1, *arrays, tol=1e-10
    )
    assert relative(norm_of(dense(A, B, C, D, discrete=discrete)), expected) < 1e-9


# --- closed forms ------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [0.5, 1e-2, 1e-4, 1e-6, 1e-8])
@pytest.mark.parametrize("sign", [1, -1])
def test_first_order_discrete(gap, sign):
    pole = sign * (1 - gap)
    expected = 1 / (1 - abs(pole))
    systems = (
        dense([[pole]], [[1.0]], [[1.0]], [[0.0]], discrete=True),
        diagonal([[pole]], [[[1.0]]], [[[1.0]]], [[[0.0]]], discrete=True),
    )
    for system in systems:
        peak = hinf_norm(system)
        assert relative(float(peak.norm), expected) < 1e-12
        assert float(peak.omega) == pytest.approx(0 if sign > 0 else math.pi, abs=1e-5 * gap)


@pytest.mark.parametrize("gap", [0.5, 1e-2, 1e-4, 1e-6, 1e-8])
@pytest.mark.parametrize("angle", [0.7, -2.4])
def test_one_complex_mode(gap, angle):
    """Not conjugate: the peak lies at the angle of the pole, on its own side."""
    pole = (1 - gap) * np.exp(1j * angle)
    bank = diagonal([[pole]], [[[1.0]]], [[[1.0]]], [[[0.0]]], discrete=True)
    expected = 1 / (1 - abs(pole))
    for system in (bank, bank.to_dense()):
        peak = hinf_norm(system)
        # the pole itself is only known to 1e-16
        assert relative(float(peak.norm), expected) < max(1e-12, 5e-16 / gap)
        assert float(peak.omega) == pytest.approx(angle, abs=1e-3 * gap)


@pytest.mark.parametrize("frequency", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("damping", [0.5, 1e-1, 1e-3, 1e-6])
def test_resonator(frequency, damping):
    peak = hinf_norm(resonator(frequency, damping))
    expected = 1 / (2 * damping * math.sqrt(1 - damping**2))
    assert relative(float(peak.norm), expected) < 1e-9
    at = frequency * math.sqrt(1 - 2 * damping**2)
    assert float(peak.omega) == pytest.approx(at, abs=1e-3 * damping * frequency)


@pytest.mark.parametrize("pole", [0.3, -0.9, 1 - 1e-6])
def test_all_pass_has_norm_one(pole):
    scale = 1 - pole**2
    system = dense([[pole]], [[1.0]], [[scale]], [[-pole]], discrete=True)
    assert norm_of(system) == pytest.approx(1, abs=1e-9)


def test_lossless_mimo_has_norm_one():
    """[A, B; C, D] orthogonal: every frequency is a peak."""
    rng = np.random.default_rng(0)
    Q, _ = np.linalg.qr(rng.standard_normal((9, 9)))
    system = dense(Q[:6, :6], Q[:6, 6:], Q[6:, :6], Q[6:, 6:], discrete=True)
    assert norm_of(system) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("structure", [dense, diagonal])
def test_peak_at_infinite_frequency(structure):
    """s / (s + 1) rises towards D = 1."""
    wrap = (lambda x: [[[x]]]) if structure is diagonal else (lambda x: [[x]])
    peak = hinf_norm(structure([[-1.0]], wrap(1.0), wrap(-1.0), wrap(1.0), discrete=False))
    assert float(peak.norm) == 1
    assert math.isinf(float(peak.omega))


@TIMES
def test_zero_and_static_systems(discrete):
    A = 0.5 * np.eye(2) if discrete else -np.eye(2)
    D = np.array([[3.0, 0.0], [0.0, -4.0]])
    nothing, some = np.zeros((2, 2)), np.ones((2, 2))
    assert norm_of(dense(A, nothing, some, nothing, discrete=discrete)) == 0
    assert norm_of(dense(A, some, nothing, nothing, discrete=discrete)) == 0
    assert norm_of(dense(A, some, nothing, D, discrete=discrete)) == 4
    bank = diagonal([[A[0, 0]]], [[[0.0]]], [[[1.0]]], [[[0.0]]], discrete=discrete)
    assert norm_of(bank) == 0


def test_delay_line():
    """A FIR filter as a nilpotent chain: all poles at 0, so no resonance points at the peak."""
    rng = np.random.default_rng(5)
    taps = rng.standard_normal(40)
    chain, entry = np.eye(39, k=-1), np.eye(39, 1)
    system = dense(chain, entry, taps[None, 1:], [[taps[0]]], discrete=True)
    grid = np.abs(np.fft.rfft(taps, 2**16)).max()
    assert grid <= norm_of(system) * (1 + 1e-12)
    assert relative(norm_of(system), grid) < 1e-6


def test_badly_scaled_coordinates():
    rng = np.random.default_rng(7)
    for discrete in (True, False):
        A, B, C, D = random_matrices(rng, 6, 2, 2, gap=1e-2, discrete=discrete)
        T = 10.0 ** rng.uniform(-8, 8, 6)
        scaled = dense(
            A * T[:, None] / T[None, :], B * T[:, None], C / T[None, :], D, discrete=discrete
        )
        plain = norm_of(dense(A, B, C, D, discrete=discrete))
        assert relative(norm_of(scaled), plain) < 1e-9


def test_states_that_are_not_minimal():
    """Unreachable and unobservable poles near the boundary do not show in the gain."""
    A = np.diag([0.5, 1 - 1e-7, -1 + 1e-7])
    system = dense(A, [[1.0], [0.0], [1.0]], [[1.0, 1.0, 0.0]], [[0.0]], discrete=True)
    assert relative(norm_of(system), 2.0) < 1e-9


# --- diagonal banks ----------------------------------------------------------------------------


BANKS = {
    "wide range of gaps": {},
    "close together": {"spread": 1e-2},
    "closer than their gaps": {"spread": 1e-5, "log_gaps": (-5.0, -3.0)},
    "strongly damped": {"log_gaps": (-0.5, -0.05)},
    "two outputs": {"outputs": 2},
    "three inputs, two outputs": {"inputs": 3, "outputs": 2},
}


@TIMES
@pytest.mark.parametrize("conjugate", [True, False], ids=["conjugate", "complex"])
@pytest.mark.parametrize("kind", BANKS)
def test_diagonal_agrees_with_dense(discrete, conjugate, kind):
    rng = np.random.default_rng(11)
    for states in (1, 3, 12):
        bank = random_bank(rng, 8, states, discrete=discrete, conjugate=conjugate, **BANKS[kind])
        found, expected = hinf_norm(bank).norm, hinf_norm(bank.to_dense()).norm
        assert ((found - expected) / expected).abs().max() < 1e-8


@TIMES
def test_real_poles_over_many_decades(discrete):
    rng = np.random.default_rng(13)
    gaps = 10 ** rng.uniform(-4, 4, (20, 6)) if not discrete else 10 ** rng.uniform(-6, 0, (20, 6))
    lam = 1 - gaps if discrete else -gaps
    C = rng.standard_normal((20, 1, 6)) * gaps[:, None]
    bank = diagonal(lam, np.ones((20, 6, 1)), C, rng.standard_normal((20, 1, 1)), discrete=discrete)
    found, expected = hinf_norm(bank).norm, hinf_norm(bank.to_dense()).norm
    assert ((found - expected) / expected).abs().max() < 1e-9


def test_ring_of_nearly_equal_peaks():
    """32 resonances, one a thousandth higher: the right one must win, wherever it stands."""
    angles = 0.1 + 0.09 * np.arange(32)
    for winner in (0, 13, 31):
        residues = np.full(32, 1e-4, dtype=complex)
        residues[winner] *= 1.001
        lam = ((1 - 1e-4) * np.exp(1j * angles))[None]
        bank = diagonal(
            lam,
            np.ones((1, 32, 1)),
            (residues * np.exp(1j * angles))[None, None],
            np.zeros((1, 1, 1)),
            discrete=True,
        )
        assert float(hinf_norm(bank).omega) == pytest.approx(angles[winner], abs=1e-4)


def test_modes_that_act_together_as_a_delay_line():
    """FIR filters as rings of damped modes: the gain ripples faster than any single mode does."""
    rng = np.random.default_rng(19)
    radius, states, heads = 0.5, 16, 200
    poles = radius * np.exp(2j * np.pi * np.arange(states) / states)
    taps = rng.standard_normal((heads, states))  # sum_k taps_k z^-(k + 1) / (1 - (radius / z)^N)
    powers = poles[:, None] ** np.arange(states)
    residues = taps @ (powers.conj() / radius ** (2 * np.arange(states))).T / states
    bank = diagonal(
        np.tile(poles, (heads, 1)),
        np.ones((heads, states, 1)),
        residues[:, None],
        np.zeros((heads, 1, 1)),
        discrete=True,
    )
    z = np.exp(2j * np.pi * np.arange(2**14) / 2**14)
    expected = (np.abs(np.fft.fft(taps, 2**14)) / np.abs(1 - (radius / z) ** states)).max(-1)
    found = hinf_norm(bank).norm.numpy()
    assert (found >= expected * (1 - 1e-10)).all()
    assert (found <= expected * (1 + 1e-4)).all()


def test_copies_are_independent():
    """Every copy alone gives what it gives within the bank, unstable neighbours or not."""
    rng = np.random.default_rng(17)
    bank = random_bank(rng, 5, 4, discrete=True, conjugate=True)
    lam = bank.lam.clone()
    lam[2] *= 1.5
    mixed = dataclasses.replace(bank, lam=lam)
    together = hinf_norm(mixed).norm
    assert math.isinf(together[2])
    for h in (0, 1, 3, 4):
        assert relative(float(together[h]), norm_of(bank.head(h))) < 1e-10


# --- no norm -----------------------------------------------------------------------------------


@TIMES
@pytest.mark.parametrize("beyond", [0.0, 0.3])
def test_unstable_or_on_the_boundary_is_infinite(discrete, beyond):
    angle = 0.8  # the mode stored is the lower one of its pair
    pole = (1 + beyond) * np.exp(-1j * angle) if discrete else beyond - 1j * angle
    lam = np.array([[pole, 0.1 * pole if discrete else -1.0]])
    ones = np.ones((1, 2, 1))
    bank = diagonal(lam, ones, ones.swapaxes(1, 2), [[[0.0]]], discrete=discrete, conjugate=True)
    peak = hinf_norm(bank)
    assert math.isinf(float(peak.norm))
    assert float(peak.omega) == pytest.approx(angle)
    # a dense matrix only knows its poles to rounding
    moved = dataclasses.replace(bank, lam=bank.lam * (1 + 1e-12) + (0 if discrete else 1e-12))
    assert math.isinf(norm_of(moved.to_dense()))


def test_integrators_are_infinite():
    assert math.isinf(norm_of(dense([[1.0]], [[1.0]], [[1.0]], [[0.0]], discrete=True)))
    assert math.isinf(norm_of(dense([[0.0]], [[1.0]], [[1.0]], [[0.0]], discrete=False)))


@TIMES
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["A", "lam", "B", "C", "D"])
def test_non_finite_is_infinite(discrete, bad, name):
    rng = np.random.default_rng(0)
    bank = random_bank(rng, 2, 3, discrete=discrete, conjugate=False)
    system = bank.to_dense() if name == "A" else bank
    tensor = getattr(system, name).clone()
    tensor[0].view(-1)[0] = bad
    peak = hinf_norm(dataclasses.replace(system, **{name: tensor}))
    assert math.isinf(peak.norm[0])
    assert math.isfinite(peak.norm[1])
    assert not peak.omega.isnan().any()


# --- gradients ---------------------------------------------------------------------------------


def directional_error(system: LinearSystem, seed: int) -> float:
    """Relative error of autograd's directional derivative against central differences."""
    generator = torch.Generator().manual_seed(seed)
    names = [name for name in system.tensors() if name != "dt"]
    values = {name: getattr(system, name) for name in names}
    directions = {
        name: torch.randn(value.shape, dtype=value.dtype, generator=generator)
        for name, value in values.items()
    }

    def norm(step: float) -> torch.Tensor:
        moved = {name: values[name] + step * directions[name] for name in names}
        return hinf_norm(dataclasses.replace(system, **moved)).norm.sum()

    leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
    grads = torch.autograd.grad(
        hinf_norm(dataclasses.replace(system, **leaves)).norm.sum(), list(leaves.values())
    )
    found = sum(
        float((grad.conj() * directions[name]).real.sum())
        for name, grad in zip(names, grads, strict=True)
    )
    step = 1e-6
    expected = float(norm(step) - norm(-step)) / (2 * step)
    return relative(found, expected)


@TIMES
@pytest.mark.parametrize("seed", range(4))
def test_gradient_of_dense(discrete, seed):
    rng = np.random.default_rng(seed)
    shape = [(4, 1, 1), (5, 2, 3)][seed % 2]
    matrices = random_matrices(rng, *shape, gap=0.1, discrete=discrete, complex_=seed >= 2)
    assert directional_error(dense(*matrices, discrete=discrete), seed) < 1e-5


@TIMES
@pytest.mark.parametrize("conjugate", [True, False], ids=["conjugate", "complex"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_gradient_of_diagonal(discrete, conjugate, outputs):
    rng = np.random.default_rng(23)
    bank = random_bank(
        rng,
        3,
        4,
        discrete=discrete,
        conjugate=conjugate,
        log_gaps=(-1.5, -0.5),
        inputs=outputs,
        outputs=outputs,
    )
    assert directional_error(bank, 1) < 1e-5


def test_gradient_of_unstable_copy_is_zero():
    rng = np.random.default_rng(29)
    bank = random_bank(rng, 2, 3, discrete=True, conjugate=True)
    factor = torch.tensor([[1.0], [5.0]], dtype=torch.float64)
    lam = (bank.lam * factor).requires_grad_()
    norm = hinf_norm(dataclasses.replace(bank, lam=lam)).norm
    norm[0].backward(retain_graph=True)
    assert (lam.grad[0] != 0).any()
    lam.grad = None
    norm[1].backward()
    assert bool((lam.grad == 0).all())


def test_gradient_reaches_single_precision():
    lam = torch.tensor([[0.9]], requires_grad=True)
    one = torch.ones(1, 1, 1)
    system = diagonal([[0.5]], one, one, 0 * one, discrete=True)
    norm = hinf_norm(dataclasses.replace(system, lam=lam)).norm
    norm.sum().backward()
    assert norm.dtype == torch.float64
    assert lam.grad.dtype == torch.float32
    assert float(lam.grad) == pytest.approx(100, rel=1e-5)  # d/da 1 / (1 - a)


# --- properties --------------------------------------------------------------------------------


@st.composite
def random_systems(draw) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, bool]:
    discrete = draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    states, inputs, outputs = draw(st.tuples(*[st.integers(1, n) for n in (8, 3, 3)]))
    gap = 10 ** draw(st.floats(-4, -0.3))
    complex_ = draw(st.booleans())
    matrices = random_matrices(
        rng, states, inputs, outputs, gap=gap, discrete=discrete, complex_=complex_
    )
    return (*matrices, discrete)


@given(random_systems())
@few
def test_no_frequency_exceeds_the_norm_and_the_peak_attains_it(drawn):
    *matrices, discrete = drawn
    system = dense(*matrices, discrete=discrete)
    peak = hinf_norm(system)
    poles = system.poles()[0]
    around = torch.linspace(-3, 3, 41, dtype=torch.float64)
    if discrete:
        near = (poles.angle()[:, None] + (1 - poles.abs())[:, None] * around).flatten()
        wide = torch.linspace(-math.pi, math.pi, 2001, dtype=torch.float64)
    else:
        near = (poles.imag[:, None] + poles.real[:, None] * around).flatten()
        wide = torch.logspace(-4, 4, 1000, dtype=torch.float64)
        wide = torch.cat([-wide, wide])
    gain = torch.linalg.matrix_norm(system.frequency_response(torch.cat([near, wide])), ord=2)
    assert float(gain.max()) <= float(peak.norm) * (1 + 1e-8)
    if math.isfinite(float(peak.omega)):
        attained = torch.linalg.matrix_norm(system.frequency_response(peak.omega), ord=2)
        assert relative(float(attained), float(peak.norm)) < 1e-9


@given(random_systems(), st.floats(-6, 6))
@few
def test_scaling_the_output_scales_the_norm(drawn, exponent):
    A, B, C, D, discrete = drawn
    k = 10.0**exponent
    plain = norm_of(dense(A, B, C, D, discrete=discrete))
    assert relative(norm_of(dense(A, B, k * C, k * D, discrete=discrete)), k * plain) < 1e-8


@given(random_systems(), st.integers(0, 2**32 - 1))
@few
def test_coordinates_do_not_matter(drawn, seed):
    A, B, C, D, discrete = drawn
    T = np.random.default_rng(seed).standard_normal(A.shape) + 3 * np.eye(len(A))
    inverse = np.linalg.inv(T)
    plain = norm_of(dense(A, B, C, D, discrete=discrete))
    turned = norm_of(dense(T @ A @ inverse, T @ B, C @ inverse, D, discrete=discrete))
    gap = 1 - np.abs(np.linalg.eigvals(A)).max() if discrete else 1.0
    assert relative(turned, plain) < 1e-8 + 1e-14 * np.linalg.cond(T) / min(gap, 1.0)


@given(random_systems())
@few
def test_adjoint_has_the_same_norm(drawn):
    A, B, C, D, discrete = drawn
    adjoint = dense(A.conj().T, C.conj().T, B.conj().T, D.conj().T, discrete=discrete)
    assert relative(norm_of(adjoint), norm_of(dense(A, B, C, D, discrete=discrete))) < 1e-8
