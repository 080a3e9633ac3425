"""The adversary: a lower bound that comes near the truth where the truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench import registry
from ssmbench.analysis.attack import attack, attacks
from ssmbench.analysis.horizon import horizon_gain
from tests.analysis.systems_for_tests import dense, random_bank, random_matrices

#: The default budget of a run: AnalysisConfig.
STEPS, RESTARTS = 40, 8


def silence(length: int, channels: int = 1, restarts: int = RESTARTS, dtype=torch.float64):
    return torch.zeros(restarts, length, channels, dtype=dtype)


def attacked(function, base, amplitude=1.0, *, steps: int = STEPS, seed: int = 0):
    amplitudes = torch.as_tensor(amplitude, dtype=torch.float64).expand(len(base))
    return attack(function, base, amplitudes, steps=steps, seed=seed)


def of_matrix(matrix):
    return lambda u: u.flatten(1) @ matrix.T


def of_system(system, channels: int):
    scan = registry.scans.get("cpu").build()

    def function(u):
        y, _ = scan(system, u.unflatten(-1, (system.heads, channels // system.heads)), None)
        return y

    return function


# --- linear maps: the largest singular value ------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_finds_the_largest_singular_value(seed):
    generator = torch.Generator().manual_seed(seed)
    length, channels = 3 + seed, 1 + seed % 3
    matrix = torch.randn(5 + 2 * seed, length * channels, generator=generator, dtype=torch.float64)
    exact = torch.linalg.matrix_norm(matrix, 2).item()
    found = attacked(of_matrix(matrix), silence(length, channels), steps=150).gain
    assert 0.99 * exact <= found <= exact * (1 + 1e-12)


def test_more_steps_never_find_less():
    matrix = torch.randn(9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    gains = [attacked(of_matrix(matrix), silence(12), steps=n).gain for n in (1, 2, 5, 20, 80)]
    assert gains == sorted(gains)
    assert gains[0] < 0.9 * gains[-1], "precondition: chance alone does not find it"


def test_base_and_amplitude_do_not_matter_to_a_linear_map():
    matrix = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    at_rest = attacked(of_matrix(matrix), silence(6)).gain
    moved = attacked(of_matrix(matrix), silence(6) + 3.0, 50.0).gain
    assert moved == pytest.approx(at_rest, rel=1e-9)


def test_disturbance_is_returned_and_reproduces_the_gain():
    matrix = torch.randn(6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    function, base = of_matrix(matrix), silence(4, 2) + 1
    found = attacked(function, base, 0.3)
    change = function((found.base + found.disturbance)[None]) - function(found.base[None])
    assert found.disturbance.norm().item() == pytest.approx(0.3)
    assert (change.norm() / found.disturbance.norm()).item() == pytest.approx(found.gain, rel=1e-6)


# --- systems: the gain over the horizon -----------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_reaches_the_horizon_gain_of_dense_systems(seed):
    rng = np.random.default_rng(seed)
    states, inputs, outputs = (int(n) for n in rng.integers(1, 6, 3))
    gap = 10 ** rng.uniform(-3, -0.3)
    system = dense(
        *random_matrices(rng, states, inputs, outputs, gap=gap, discrete=True), discrete=True
    )
    exact = horizon_gain(system, 32).item()
    found = attacked(of_system(system, inputs), silence(32, inputs)).gain
    assert 0.95 * exact <= found <= exact * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_reaches_the_horizon_gain_of_banks(seed):
    """The worst copy of the bank must be found among the others."""
    bank = random_bank(
        np.random.default_rng(seed), 4, 3, discrete=True, conjugate=True, log_gaps=(-3, -0.3)
    )
    exact = horizon_gain(bank, 32).max().item()
    found = attacked(of_system(bank, 4), silence(32, 4)).gain
    assert 0.95 * exact <= found <= exact * (1 + 1e-9)


def test_float32_signals_stay_below_the_bound():
    system = dense([[0.999]], [[1.0]], [[1.0]], [[0.0]], discrete=True)
    exact = horizon_gain(system, 64).item()
    found = attacked(of_system(system, 1), silence(64, dtype=torch.float32)).gain
    assert 0.95 * exact <= found <= exact * (1 + 1e-5)


# --- nonlinear maps -------------------------------------------------------------------------------


def test_larger_amplitude_is_worse_for_a_convex_map():
    """||d^2|| / ||d|| is at most ||d||, for a d that is one spike."""
    found = attacked(torch.square, silence(5), torch.linspace(0.1, 3.0, RESTARTS))
    assert found.disturbance.norm().item() == pytest.approx(3.0)
    assert 2.97 <= found.gain <= 3.0 * (1 + 1e-12)


def test_smaller_amplitude_is_worse_for_a_saturating_map():
    found = attacked(torch.tanh, silence(5), torch.logspace(-3, 1, RESTARTS))
    assert found.disturbance.norm().item() == pytest.approx(1e-3)
    assert found.gain == pytest.approx(1.0, rel=1e-5)


def test_steepest_base_is_found():
    """Around u = 2 the map u^2 has slope 4; around 0, none."""
    base = torch.zeros(4, 3, 1, dtype=torch.float64)
    base[2] = 2.0
    found = attacked(torch.square, base, 1e-3)
    assert torch.equal(found.base, base[2])
    assert found.gain == pytest.approx(4.0, rel=1e-3)


def test_a_curved_map_does_not_make_the_ascent_oscillate():
    """On sin, plain steepest ascent jumps between two points and never ends at slope 1."""
    found = attacked(lambda u: torch.sin(3 * u), silence(2), 1.2, steps=60)
    spread = 1.2 / math.sqrt(2)
    assert found.gain >= 3 * math.sin(3 * spread) / (3 * spread)


# --- bases that move ------------------------------------------------------------------------------


def bell(u):
    """Steepest, with slope 1, at u = 2 in every step; slope below 0.02 around 0."""
    return 0.5 * (1 + torch.tanh(2 * (u - 2)))


def moving(function, *, steps, step=0.1, amplitude=0.01, **more):
    amplitudes = torch.full((RESTARTS,), amplitude, dtype=torch.float64)
    still = torch.arange(RESTARTS) % 2 == 0
    steps_of = torch.where(still, 0.0, step)
    base = silence(3) + 0.5 * ~still[:, None, None]
    return attacks(function, base, amplitudes, steps=steps, seed=0, base_step=steps_of, **more)


def test_a_base_that_moves_finds_the_steepest_place():
    found = moving(bell, steps=60)
    assert (found.gains[::2] < 0.02).all(), "around silence the map is flat"
    assert 0.99 <= found.worst.gain <= 1 + 1e-6
    assert (found.worst.base - 2).abs().min() < 0.1


def test_a_base_without_a_step_stays_where_it_is():
    found = moving(bell, steps=30)
    assert torch.equal(found.base[::2], silence(3)[::2])
    assert not torch.equal(found.base[1::2], silence(3)[1::2] + 0.5)


def test_bases_that_move_never_find_less_with_more_steps():
    gains = [moving(bell, steps=n).worst.gain for n in (1, 2, 5, 10, 20, 40)]
    assert gains == sorted(gains)


def test_every_start_returns_what_reproduces_its_gain():
    found = moving(bell, steps=25)
    change = (bell(found.base + found.disturbance) - bell(found.base)).flatten(1).norm(dim=1)
    assert torch.allclose(change / found.disturbance.flatten(1).norm(dim=1), found.gains)


# --- rounding -------------------------------------------------------------------------------------


def coarse(u):
    """The identity, with 12 bits."""
    return torch.round(u * 4096) / 4096 + (u - u.detach())


def test_rounding_is_not_taken_for_amplification():
    amplitudes = torch.full((RESTARTS,), 3e-4, dtype=torch.float64)
    base = torch.rand(RESTARTS, 5, 1, generator=torch.Generator().manual_seed(0)).double()
    fooled = attacks(coarse, base, amplitudes, steps=20, seed=0)
    judged = attacks(coarse, base, amplitudes, steps=20, seed=0, exact=lambda u: u)
    assert fooled.worst.gain > 1.01, "precondition: rounding amplifies"
    assert judged.worst.gain == pytest.approx(1.0, rel=1e-9)


def test_the_exact_map_is_asked_in_double_precision():
    seen = []
    base = silence(4, dtype=torch.float32)
    attacks(
        torch.tanh,
        base,
        torch.ones(RESTARTS),
        steps=2,
        seed=0,
        exact=lambda u: seen.append(u.dtype) or u.tanh(),
    )
    assert set(seen) == {torch.float64}


@pytest.mark.parametrize("bias", [1e6, 1e9, 1e12])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_under_a_bias_never_exceeds_the_true_gain(bias, dtype):
    base = torch.rand(RESTARTS, 5, 1, generator=torch.Generator().manual_seed(0)).to(dtype)
    found = attacked(lambda u: u + bias, base, 1e-2, steps=20)
    assert found.gain <= 1


# --- edges ----------------------------------------------------------------------------------------

NOT_FINITE = {
    "infinite": lambda u: u * math.inf,
    "NaN": lambda u: u * math.nan,
    "infinite at rest already": lambda u: u + math.inf,
    "infinite for some": lambda u: torch.where(u > 0.4, math.inf, u),
    "overflowing": lambda u: (u * 1e200).square(),
}
ZERO = {
    "zero": lambda u: 0 * u,
    "constant": lambda u: torch.ones(len(u), 2),
    "locally constant": lambda u: torch.round(u / 100),
}


@pytest.mark.parametrize("function", NOT_FINITE.values(), ids=NOT_FINITE)
def test_output_that_is_not_finite_is_an_infinite_gain(function):
    assert attacked(function, silence(6)).gain == math.inf


@pytest.mark.parametrize("function", ZERO.values(), ids=ZERO)
def test_map_that_does_not_move_has_gain_zero(function):
    assert attacked(function, silence(6)).gain == 0


def test_no_steps_find_nothing():
    assert attacked(lambda u: u, silence(3), steps=0).gain == 0


def test_disturbance_of_size_zero_finds_nothing():
    assert attacked(lambda u: u, silence(3), 0.0).gain == 0


def test_deterministic_in_the_seed_alone():
    matrix = torch.randn(9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    before = torch.get_rng_state()
    first = attacked(of_matrix(matrix), silence(12), steps=2, seed=5)
    assert torch.equal(torch.get_rng_state(), before), "the global generator is left alone"
    torch.rand(3)
    again = attacked(of_matrix(matrix), silence(12), steps=2, seed=5)
    other = attacked(of_matrix(matrix), silence(12), steps=2, seed=6)
    assert torch.equal(first.disturbance, again.disturbance)
    assert first.gain == again.gain != other.gain


def test_parameters_get_no_gradients():
    layer = torch.nn.Linear(1, 3, dtype=torch.float64)
    attacked(layer, silence(4))
    assert all(p.grad is None for p in layer.parameters())


@settings(max_examples=60, deadline=None)
@given(
    scale=st.sampled_from([0.0, 1e-40, 1e-20, 1.0, 1e20, 1e38]),
    shift=st.sampled_from([0.0, 1e-30, 1.0, 1e30, math.inf, math.nan]),
    shape=st.sampled_from([torch.square, torch.sqrt, torch.exp, torch.log, torch.sign, torch.sin]),
    amplitude=st.sampled_from([0.0, 1e-30, 1e-3, 1.0, 1e30]),
    seed=st.integers(0, 99),
)
def test_never_nan_and_never_negative(scale, shift, shape, amplitude, seed):
    base = silence(4, dtype=torch.float32)
    found = attacked(lambda u: shape(u * scale) + shift, base, amplitude, steps=4, seed=seed)
    assert found.gain >= 0
