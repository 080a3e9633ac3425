"""Normalisers: any variant gets a prescribed gain, and training sees the normalised system."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench import registry
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.analysis.horizon import horizon_gain
from ssmbench.analysis.peak_estimate import estimated_peak_gain
from ssmbench.analysis.upper_bound import hinf_bound
from ssmbench.errors import UsageError
from ssmbench.nn.layer import SSMLayer
from ssmbench.normalisers.base import NormaliserConfig
from ssmbench.normalisers.gain import (
    HinfConfig,
    HinfNormaliser,
    HorizonConfig,
    HorizonNormaliser,
)
from ssmbench.systems import DiscreteDense, DiscreteDiagonal
from ssmbench.testing import randomise
from tests.builders import build_layer, build_parametrization, discretizer_for

STABLE = [
    e.name
    for e in registry.parametrizations
    if e.factory.stable_by_construction and not e.factory.is_time_varying()
]


def layer_of(name: str, normaliser, discretizer: str = "tustin") -> SSMLayer:
    return build_layer(name, discretizer_for(name, discretizer), normaliser=normaliser)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(STABLE),
    gamma=st.sampled_from([0.01, 1.0, 100.0]),
    scale=st.sampled_from([0.1, 1.0, 3.0]),
    seed=st.integers(0, 10_000),
)
def test_every_stable_variant_gets_the_gain(name, gamma, scale, seed):
    torch.manual_seed(seed)
    layer = layer_of(name, HinfNormaliser(NormaliserConfig(gamma=gamma)))
    randomise(layer.parametrization, scale)
    assert layer.declared_gain() == gamma
    with torch.no_grad():
        system = layer.system().double()
    dense = isinstance(system, DiscreteDense)  # step sizes of e^30 round it onto the circle
    assert dense or system.is_stable()
    if system.is_stable():
        assert hinf_norm(system).norm.max() <= gamma * (1 + 1e-4)


def test_shrink_only_leaves_small_gains_alone():
    torch.manual_seed(0)
    plain = layer_of("s4d", None).system()
    norms = hinf_norm(plain.double()).norm
    gamma = norms.mean().item()
    shrunk = HinfNormaliser(NormaliserConfig(gamma=gamma, shrink_only=True))(plain)
    after = hinf_norm(shrunk.double()).norm
    small = norms < 0.98 * gamma
    assert small.any()
    assert torch.equal(shrunk.C[small], plain.C[small])
    assert (after <= gamma * (1 + 1e-6)).all()


def test_the_horizon_normaliser_bounds_the_horizon_and_declares_nothing():
    torch.manual_seed(0)
    normaliser = HorizonNormaliser(HorizonConfig(gamma=2.0, horizon=64))
    layer = layer_of("s4d", normaliser)
    with torch.no_grad():
        gains = horizon_gain(layer.system().double(), 64)
    assert (gains <= 2.0).all()
    assert (gains > 1.0).all()
    assert layer.declared_gain() is None


def test_gradient_against_finite_differences():
    torch.manual_seed(0)
    normaliser = HinfNormaliser(NormaliserConfig(gamma=1.0))
    lam = torch.tensor([[0.9 + 0.2j, 0.3 - 0.6j]], dtype=torch.complex128)
    C = torch.randn(1, 1, 2, dtype=torch.complex128)
    D = torch.randn(1, 1, 1, dtype=torch.float64)

    def output(radius: torch.Tensor) -> torch.Tensor:
        system = DiscreteDiagonal(
            lam=lam * radius, B=torch.ones_like(C).mT, C=C, D=D, conjugate=True
        )
        # The exact norm in place of its bound, whose last percent is not smooth.
        exact = hinf_norm(system).norm / normaliser.bound(system)
        return (normaliser(system).C / exact).real.sum()

    radius = torch.tensor(0.95, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(output(radius), radius)
    step = 1e-5
    with torch.no_grad():
        found = (output(radius + step) - output(radius - step)) / (2 * step)
    assert slope.item() == pytest.approx(found.item(), rel=1e-3)


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(["s4d", "unconstrained_diagonal"]),
    states=st.sampled_from([2, 8, 32]),
    scale=st.sampled_from([0.1, 1.0, 3.0]),
    seed=st.integers(0, 10_000),
)
def test_the_estimate_is_below_the_peak_and_near_it(name, states, scale, seed):
    torch.manual_seed(seed)
    layer = build_layer(
        build_parametrization(name, 8, d_state=states), discretizer_for(name, "zoh")
    )
    randomise(layer.parametrization, scale)
    with torch.no_grad():
        system = layer.system().double()
        peaks, estimates = hinf_norm(system).norm, estimated_peak_gain(system)
    stable = peaks.isfinite()
    assert (estimates[stable] <= peaks[stable] * (1 + 1e-9) + 1e-12).all()
    assert (estimates[stable] >= 0.5 * peaks[stable]).all()


def test_training_takes_the_estimate_and_everything_else_the_proof():
    """So that what is declared never rests on an estimate: not in evaluation, not in analysis, and
    not without gradients."""
    torch.manual_seed(0)
    normaliser = HinfNormaliser(HinfConfig(gamma=2.0, training="estimated"))
    layer, u = layer_of("s4d", normaliser), torch.randn(2, 20, 8)
    estimated, proved = layer.train().system_for(u), layer.system()
    assert (estimated.C.abs() > proved.C.abs()).any()
    assert estimated.C.requires_grad
    assert torch.equal(layer.eval().system_for(u).C, proved.C)
    with torch.no_grad():
        assert torch.equal(layer.train().system_for(u).C, proved.C)
    assert hinf_norm(proved.double()).norm.max() <= 2


def test_an_estimate_is_for_diagonal_systems_of_one_input():
    """Of others the proof is taken in training too."""
    for name in ("s5", "lssl"):
        torch.manual_seed(0)
        normaliser = HinfNormaliser(HinfConfig(training="estimated"))
        layer = layer_of(name, normaliser).train()
        system = layer.system_for(torch.randn(1, 3, 8))
        assert torch.equal(system.C, layer.system().C)


def test_the_gradient_of_the_estimate_is_that_of_the_peak():
    torch.manual_seed(0)
    layer = layer_of("s4d", None)
    slopes = []
    for gain in (estimated_peak_gain, hinf_bound):
        layer.zero_grad()
        gain(layer.system()).sum().backward()
        slopes.append(layer.parametrization.C.grad.clone())
    apart = (slopes[0] - slopes[1]).norm() / slopes[1].norm()
    assert apart < 0.05


def test_a_layer_that_may_be_unstable_declares_nothing():
    normaliser = HinfNormaliser(NormaliserConfig())
    assert layer_of("unconstrained_diagonal", normaliser).declared_gain() is None
    assert layer_of("s4d", normaliser, "forward_euler").declared_gain() is None
    assert layer_of("s4d", normaliser).declared_gain() == 1.0


def test_a_copy_that_is_unstable_or_silent_gives_no_nan():
    lam = torch.tensor([[1.5], [0.5], [0.5]], dtype=torch.complex64)
    C = torch.tensor([1.0, 0.0, 1.0])[:, None, None].to(torch.complex64)
    system = DiscreteDiagonal(
        lam=lam, B=torch.ones_like(C), C=C, D=torch.zeros(3, 1, 1), conjugate=True
    )
    found = HinfNormaliser(NormaliserConfig())(system)
    assert found.is_finite()
    assert found.C[:2].abs().max() == 0
    assert hinf_norm(found.double()).norm[2].item() == pytest.approx(1.0, rel=1e-2)


@pytest.mark.parametrize("log_dt", [-20.0, -31.0, -40.0, -60.0, -110.0])
@pytest.mark.parametrize("discretizer", ["zoh", "tustin", "bilinear"])
def test_the_slowest_layer_is_not_silenced(discretizer, log_dt):
    """Its modes are stable however slow, so each channel has the gain: that of D, if of nothing
    else. At log dt = -110, exp underflows in float32."""
    torch.manual_seed(0)
    layer = layer_of("s4d", HinfNormaliser(NormaliserConfig(gamma=2.0)), discretizer)
    with torch.no_grad():
        layer.parametrization.log_dt.fill_(log_dt)
        system = layer.system()
    assert system.is_stable()
    gains = hinf_norm(system.double()).norm
    assert (gains <= 2 * (1 + 1e-6)).all()
    assert (gains > 2 * 0.98).all()


@pytest.mark.parametrize(
    ("silent", "pole"), [("B", 1.0), ("B", 1j), ("B", 1.5), ("C", 1.0), ("C", 1j)]
)
def test_a_mode_without_a_path_leaves_the_gain_of_d(silent, pole):
    """Closed form: G = D, whatever a pole does that the input does not reach, or that the output
    does not read and that does not overflow."""
    one = torch.ones(2, 1, 1, dtype=torch.complex64)
    parts = {"B": one, "C": one} | {silent: 0 * one}
    system = DiscreteDiagonal(
        lam=torch.full((2, 1), pole, dtype=torch.complex64),
        **parts,
        D=torch.tensor([0.5, -4.0])[:, None, None],
        conjugate=True,
    )
    found = HinfNormaliser(NormaliserConfig(gamma=2.0))(system)
    assert found.D.flatten().tolist() == pytest.approx([2.0, -2.0], rel=1e-2)


def test_a_layer_that_reads_and_passes_on_nothing_has_gain_zero():
    """C = D = 0 on a pole of modulus 1 is silent: not broken, not infinite."""
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    lam = torch.ones(1, 1, dtype=torch.float64)
    assert hinf_norm(DiscreteDiagonal(lam=lam, B=one, C=0 * one, D=0 * one)).norm.item() == 0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hinf", {"gamma": 0.0}, "normaliser hinf: gamma: must be positive"),
        ("horizon", {"horizon": 0}, "horizon: must be positive"),
        ("horizon", {"oversampling": 1}, "oversampling: must be at least 2"),
    ],
)
def test_bad_options_are_refused(name, options, message):
    entry = registry.normalisers.get(name)
    with pytest.raises(UsageError, match=message):
        entry.build(entry.config(**options))
