"""Upper bounds: never below the true gain, and close to it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench.analysis.hinf import hinf_norm
from ssmbench.analysis.horizon import horizon_gain
from ssmbench.analysis.upper_bound import hinf_bound, horizon_bound
from ssmbench.errors import UsageError
from tests.analysis.systems_for_tests import (
    dense,
    diagonal,
    random_bank,
    random_matrices,
    resonator,
)

TIMES = pytest.mark.parametrize("discrete", [True, False], ids=["discrete", "continuous"])


def check_bound(system, most: float = 1.01) -> None:
    """norm <= bound <= most x norm for every copy."""
    norm = hinf_norm(system).norm
    bound = hinf_bound(system)
    assert bound.shape == norm.shape
    assert bound.dtype == torch.float64
    assert bool((bound >= norm * (1 - 1e-12)).all()), (bound / norm).min()
    assert bool((bound <= norm * most).all()), (bound / norm).max()


@pytest.mark.parametrize("spread", [np.pi, 0.1, 1e-3])
@pytest.mark.parametrize("conjugate", [True, False])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (1, 3), (3, 2)])
def test_diagonal_banks(conjugate, spread, inputs, outputs):
    rng = np.random.default_rng(0)
    for states in (1, 5, 32):
        check_bound(
            random_bank(
                rng,
                6,
                states,
                discrete=True,
                conjugate=conjugate,
                log_gaps=(-8.0, -0.1),
                spread=spread,
                inputs=inputs,
                outputs=outputs,
            )
        )


@TIMES
@pytest.mark.parametrize("complex_", [False, True])
def test_dense_systems(discrete, complex_):
    rng = np.random.default_rng(1)
    for _ in range(15):
        states = int(rng.integers(1, 20))
        inputs, outputs = (int(n) for n in rng.integers(1, 5, 2))
        gap = 10 ** rng.uniform(-6, -0.3)
        matrices = random_matrices(
            rng, states, inputs, outputs, gap=gap, discrete=discrete, complex_=complex_
        )
        check_bound(dense(*matrices, discrete=discrete))


# --- an independent implementation, poles to 1 - 1e-8 -------------------------------------------


def slicot_norm(A, B, C, D) -> float:
    slycot = pytest.importorskip("slycot")
    # ab13dd overwrites its arguments
    arrays = [matrix.copy(order="F") for matrix in (A, np.eye(len(A)), B, C, D)]
    sizes = (len(A), B.shape[1], C.shape[0])
    return slycot.ab13dd("D", "I", "N", "D", *sizes, *arrays, tol=1e-10)[0]


@pytest.mark.parametrize("seed", range(5))
def test_dense_bound_against_slicot(seed):
    """100 of the 200 systems; a fifth of them at the smallest gap."""
    rng = np.random.default_rng(seed)
    for case in range(20):
        states = int(rng.integers(1, 24))
        inputs, outputs = (int(n) for n in rng.integers(1, 5, 2))
        gap = 10 ** rng.uniform(-8, -0.3) if case % 5 else 1e-8
        matrices = random_matrices(rng, states, inputs, outputs, gap=gap, discrete=True)
        system, expected = dense(*matrices, discrete=True), slicot_norm(*matrices)
        assert float(hinf_norm(system).norm) == pytest.approx(expected, rel=1e-6)
        # Two eigenvalue algorithms agree on a pole to 1e-16, on its gap to 1e-16 / gap.
        assert 1 - 1e-14 / gap <= float(hinf_bound(system)) / expected <= 1.01, (states, gap)


@pytest.mark.parametrize("seed", range(5))
def test_diagonal_bound_against_slicot(seed):
    """The other 100: five banks of four, spread over the circle or crowded on an arc."""
    rng = np.random.default_rng(seed)
    for spread in (np.pi, np.pi, 0.3, 0.01, 1e-4):
        states = int(rng.integers(1, 12))
        sizes = {"inputs": int(rng.integers(1, 4)), "outputs": int(rng.integers(1, 4))}
        limits = {"log_gaps": (-8.0, -0.3), "spread": spread}
        bank = random_bank(rng, 4, states, discrete=True, conjugate=True, **limits, **sizes)
        bounds, norms = hinf_bound(bank), hinf_norm(bank).norm
        for copy, bound, norm in zip(range(4), bounds, norms, strict=True):
            one = bank.to_dense().head(copy)
            expected = slicot_norm(*(t[0].numpy() for t in (one.A, one.B, one.C, one.D)))
            assert float(norm) == pytest.approx(expected, rel=1e-6)
            assert 1 - 1e-6 <= float(bound) / expected <= 1.01


# --- closed forms -------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [0.5, 1e-2, 1e-4, 1e-6, 1e-8])
@pytest.mark.parametrize("sign", [1, -1])
def test_first_order(gap, sign):
    pole = sign * (1 - gap)
    exact = 1 / (1 - abs(pole))
    one = np.ones((1, 1, 1))
    for system in (
        dense([[pole]], [[1.0]], [[1.0]], [[0.0]], discrete=True),
        diagonal([[pole]], one, one, 0 * one, discrete=True),
    ):
        assert exact <= float(hinf_bound(system)) <= 1.01 * exact


@pytest.mark.parametrize("pole", [0.3, -0.9, 1 - 1e-6])
def test_all_pass(pole):
    """|G| = 1 everywhere: no interval between samples can be dropped early."""
    scale = 1 - pole**2
    for system in (
        dense([[pole]], [[1.0]], [[scale]], [[-pole]], discrete=True),
        diagonal([[pole]], [[[1.0]]], [[[scale]]], [[[-pole]]], discrete=True),
    ):
        assert 1 <= float(hinf_bound(system)) <= 1.01


def test_lossless_blaschke_product():
    """Sixteen all-pass factors in a row, by partial fractions: large residues that cancel."""
    poles = 0.9 * np.exp(1j * np.linspace(0.1, 3.0, 8))
    poles = np.concatenate([poles, poles.conj()])
    at_infinity = np.prod(-poles.conj())
    residues = np.array(
        [
            np.prod(1 - poles.conj() * pole) / np.prod(pole - np.delete(poles, k))
            for k, pole in enumerate(poles)
        ]
    )
    shape = (1, len(poles), 1)
    bank = diagonal(
        poles[None],
        np.ones(shape, complex),
        residues.reshape(1, 1, -1),
        np.array([[[at_infinity]]]),
        discrete=True,
    )
    assert 1 - 1e-12 <= float(hinf_bound(bank)) <= 1.01


@pytest.mark.parametrize("tolerance", [3.0, 0.5, 0.1, 1e-3])
@pytest.mark.parametrize("shift", [0.0, 0.3, 1.0])
def test_the_sampling_inequality_holds_with_equality_here(tolerance, shift):
    """(1 + e^{i shift} b) / 2 with b all-pass: its gain is |cos((theta - shift) / 2)|, the extreme.

    Coarse tolerances leave the bound to the inequality between samples.
    """
    rng = np.random.default_rng(6)
    poles = rng.uniform(0.3, 0.999, 12) * np.exp(1j * rng.uniform(-np.pi, np.pi, 12))
    residues = [
        np.exp(1j * shift) / 2 * np.prod(1 - poles.conj() * pole)
        / np.prod(pole - np.delete(poles, k))
        for k, pole in enumerate(poles)
    ]  # fmt: skip
    D = 0.5 + np.exp(1j * shift) / 2 * np.prod(-poles.conj())
    bank = diagonal(
        poles[None],
        np.ones((1, 12, 1), complex),
        np.reshape(residues, (1, 1, 12)),
        np.full((1, 1, 1), D),
        discrete=True,
    )
    assert 1 - 1e-12 <= float(hinf_bound(bank, tolerance)) <= (1 + tolerance) * (1 + 1e-9)


@pytest.mark.parametrize("tolerance", [10.0, 0.3, 1e-4])
def test_tolerance(tolerance):
    rng = np.random.default_rng(7)
    for conjugate in (True, False):
        for sizes in ({}, {"inputs": 3, "outputs": 2}):
            bank = random_bank(
                rng, 20, 8, discrete=True, conjugate=conjugate, log_gaps=(-4.0, -0.1), **sizes
            )
            ratio = hinf_bound(bank, tolerance) / hinf_norm(bank).norm
            assert bool((ratio >= 1 - 1e-12).all())
            assert bool((ratio <= (1 + tolerance) * (1 + 1e-9)).all())


@pytest.mark.parametrize("damping", [0.5, 1e-1, 1e-3])
def test_resonator(damping):
    exact = 1 / (2 * damping * np.sqrt(1 - damping**2))
    assert exact <= float(hinf_bound(resonator(2.0, damping))) <= 1.01 * exact


def test_coinciding_poles():
    """A hundred heads with the same mode: their phases must not fall on the same frequencies."""
    lam = np.full((1, 100), (1 - 1e-3) * np.exp(0.5j))
    B, C = np.ones((1, 100, 1), complex), np.full((1, 1, 100), 0.01 + 0j)
    check_bound(diagonal(lam, B, C, np.zeros((1, 1, 1)), discrete=True, conjugate=True))


def test_modes_that_act_together_as_a_delay_line():
    """lam_k = rho e^(2 pi i k / N): the response is rho^k-weighted powers of z^N, N equal peaks."""
    count, radius = 64, 0.99
    lam = radius * np.exp(2j * np.pi * np.arange(count) / count)
    B, C = np.ones((1, count, 1), complex), (lam / count).reshape(1, 1, -1)
    bank = diagonal(lam[None], B, C, np.zeros((1, 1, 1), complex), discrete=True)
    exact = radius**count / (1 - radius**count)
    assert exact <= float(hinf_bound(bank)) <= 1.01 * exact


@pytest.mark.parametrize(("exponent", "most"), [(-10, 1.01), (-12, 10.0), (-14, 10.0)])
def test_poles_as_close_to_the_circle_as_rounding_allows(exponent, most):
    """Beyond about 1e-11 the phases are lost, and the triangle inequality is what remains."""
    rng = np.random.default_rng(8)
    gaps = (exponent - 0.5, exponent + 0.5)
    bank = random_bank(rng, 8, 4, discrete=True, conjugate=True, log_gaps=gaps)
    check_bound(bank, most)


def test_several_inputs_and_outputs_at_full_size():
    rng = np.random.default_rng(9)
    sizes = {"inputs": 32, "outputs": 32}
    for gaps in ((-4.0, -0.1), (-8.0, -6.0)):
        check_bound(random_bank(rng, 1, 32, discrete=True, conjugate=True, log_gaps=gaps, **sizes))


# --- what has no norm ---------------------------------------------------------------------------


@pytest.mark.parametrize("pole", [1.0, -1.0, 1.5, np.nan])
def test_unstable_is_infinite(pole):
    one = np.ones((2, 1, 1))
    bank = diagonal([[pole], [0.5]], one, one, 0 * one, discrete=True)
    bound = hinf_bound(bank)
    assert np.isinf(float(bound[0]))
    assert 2 <= float(bound[1]) <= 2.02
    assert bool(torch.isinf(hinf_bound(bank.to_dense())[0]))


@TIMES
def test_zero_and_static_systems(discrete):
    A = 0.5 * np.eye(2) if discrete else -np.eye(2)
    D = np.array([[3.0, 0.0], [0.0, -4.0]])
    nothing, some = np.zeros((2, 2)), np.ones((2, 2))
    assert float(hinf_bound(dense(A, nothing, some, nothing, discrete=discrete))) == 0
    assert 4 <= float(hinf_bound(dense(A, some, nothing, D, discrete=discrete))) <= 4.04


# --- gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", ["diagonal", "dense"])
def test_gradient_is_that_of_the_norm(structure):
    rng = np.random.default_rng(4)
    bank = random_bank(rng, 3, 4, discrete=True, conjugate=True, log_gaps=(-2.0, -0.5))
    bank = bank if structure == "diagonal" else bank.to_dense()

    def gradients(function) -> list[torch.Tensor]:
        leaves = {k: v.clone().requires_grad_() for k, v in bank.tensors().items()}
        function(dataclasses.replace(bank, **leaves)).sum().backward()
        return [leaf.grad for leaf in leaves.values()]

    found = gradients(hinf_bound)
    for mine, exact in zip(found, gradients(lambda s: hinf_norm(s).norm), strict=True):
        assert torch.allclose(mine, exact, rtol=0.03, atol=0.03 * float(exact.abs().max()))


def test_gradient_of_the_horizon_bound():
    """Against a difference quotient, in the direction of C and D: the peak stays where it is."""
    rng = np.random.default_rng(5)
    bank = random_bank(rng, 2, 4, discrete=True, conjugate=True)
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    scaled = dataclasses.replace(bank, C=bank.C * scale, D=bank.D * scale)
    bound = horizon_bound(scaled, 50).sum()
    bound.backward()
    assert float(scale.grad) == pytest.approx(bound.item(), rel=1e-6)


# --- properties ---------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.booleans())
@settings(max_examples=25, deadline=None, derandomize=True)
def test_no_frequency_exceeds_the_bound(seed, states, conjugate):
    rng = np.random.default_rng(seed)
    bank = random_bank(rng, 3, states, discrete=True, conjugate=conjugate, log_gaps=(-3.0, -0.1))
    omega = torch.linspace(-np.pi, np.pi, 20001, dtype=torch.float64)
    gains = bank.frequency_response(omega).abs().flatten(1)
    assert bool((gains.amax(-1) <= hinf_bound(bank) * (1 + 1e-12)).all())


@given(st.integers(0, 2**32 - 1), st.integers(-60, 60))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_scaling_the_output_scales_the_bound(seed, exponent):
    rng = np.random.default_rng(seed)
    bank = random_bank(rng, 2, 5, discrete=True, conjugate=True)
    factor = 2.0**exponent
    scaled = dataclasses.replace(bank, C=bank.C * factor, D=bank.D * factor)
    assert torch.allclose(hinf_bound(scaled), hinf_bound(bank) * factor, rtol=1e-9)


# --- over a horizon -----------------------------------------------------------------------------


@pytest.mark.parametrize("horizon", [1, 2, 17, 200])
def test_horizon_bound_is_above_the_gain(horizon):
    rng = np.random.default_rng(2)
    systems = [
        random_bank(rng, 3, 6, discrete=True, conjugate=True, inputs=2, outputs=3),
        random_bank(rng, 3, 6, discrete=True, conjugate=False),
        dense(*random_matrices(rng, 5, 2, 3, gap=0.01, discrete=True), discrete=True),
    ]
    for system in systems:
        ratio = horizon_bound(system, horizon) / horizon_gain(system, horizon)
        assert bool((ratio >= 1 - 1e-9).all())
        assert bool((ratio <= 1.6).all())


def test_horizon_bound_of_a_static_gain_is_exact():
    system = diagonal([[0.5]], [[[0.0]]], [[[1.0]]], [[[-3.0]]], discrete=True)
    bound = float(horizon_bound(system, 100, oversampling=64))
    assert 3 <= bound < 3 * 1.0005


def test_horizon_bound_refuses_nonsense():
    with pytest.raises(UsageError, match="discretize it first"):
        horizon_bound(resonator(1.0, 0.1), 8)
    system = dense([[0.5]], [[1.0]], [[1.0]], [[0.0]], discrete=True)
    with pytest.raises(UsageError, match="at least 1"):
        horizon_bound(system, 0)
    with pytest.raises(UsageError, match="oversampling"):
        horizon_bound(system, 8, oversampling=1)
