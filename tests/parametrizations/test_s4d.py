"""S4D's initial poles against their definitions."""

import numpy as np
import pytest
import torch

from ssmbench import registry
from ssmbench.errors import UsageError
from ssmbench.parametrizations.hippo import Measure, matrices
from ssmbench.parametrizations.s4d import S4D, S4DConfig, S4DInit, hippo_input, initial_poles
from ssmbench.parametrizations.unconstrained import UnconstrainedConfig, UnconstrainedDense
from tests.builders import build_parametrization


@pytest.mark.parametrize("n", [2, 8, 64])
def test_legs_poles_are_those_of_the_normal_part(n):
    P = np.sqrt(np.arange(n) + 0.5)
    normal = matrices(Measure.legs, n)[0] + np.outer(P, P)
    expected = np.linalg.eigvals(normal)
    expected = np.sort_complex(expected[expected.imag > 0].imag + 0j).real
    found = initial_poles(S4DInit.legs, n)
    np.testing.assert_allclose(found.real, -0.5, atol=1e-9)
    np.testing.assert_allclose(found.imag, expected, rtol=1e-8)


def test_lin_inv_and_real_poles_are_the_papers():
    n = torch.arange(4, dtype=torch.float64)
    torch.testing.assert_close(initial_poles(S4DInit.lin, 8).imag, torch.pi * n)
    inv = 8 / torch.pi * (8 / (2 * n + 1) - 1)
    torch.testing.assert_close(initial_poles(S4DInit.inv, 8).imag, inv)
    expected = -torch.arange(1, 9, dtype=torch.float64)
    torch.testing.assert_close(initial_poles(S4DInit.real, 8), expected)


@pytest.mark.parametrize("init", list(S4DInit))
def test_the_module_starts_at_the_initial_poles(init):
    module = S4D(S4DConfig(init=init, d_state=6), d_model=3)
    expected = initial_poles(init, 6)
    lam = module().lam.detach()
    for copy in lam:
        torch.testing.assert_close(copy.to(expected.dtype), expected, rtol=1e-5, atol=1e-6)
    assert module().order == 6


def test_step_sizes_are_within_their_range():
    dt = S4D(S4DConfig(dt_min=0.01, dt_max=0.02), d_model=64)().dt
    assert dt.min() >= 0.01 * (1 - 1e-5)
    assert dt.max() <= 0.02 * (1 + 1e-5)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"d_state": 5}, "even"),
        ({"d_state": 0}, "positive"),
        ({"dt_min": 0.0}, "0 < dt_min"),
        ({"dt_min": 0.2, "dt_max": 0.1}, "dt_min <= dt_max"),
    ],
)
def test_impossible_options_are_refused(options, says):
    with pytest.raises(UsageError, match=says):
        registry.parametrizations.get("s4d").build(S4DConfig(**options), d_model=2)


def test_an_odd_number_of_real_states_is_fine():
    assert S4D(S4DConfig(init=S4DInit.real, d_state=5), d_model=2)().order == 5


def test_the_unconstrained_system_may_go_unstable():
    torch.manual_seed(0)
    module = UnconstrainedDense(UnconstrainedConfig(d_state=4), d_model=2)
    assert module().is_stable()
    with torch.no_grad():
        module.A += 5 * torch.eye(4)
    assert not module().is_stable()
    assert not module.stable_by_construction


def published_legs(n):
    """lam and B as state-spaces/s4 at e757cef makes them: src/models/hippo/hippo.py, nplr."""
    A, B = (torch.from_numpy(m) for m in matrices(Measure.legs, n))
    P = torch.sqrt(0.5 + torch.arange(n, dtype=torch.float64))
    AP = A + P[:, None] * P
    w, V = torch.linalg.eigh(AP * -1j)
    V, w = V[:, : n // 2], torch.diagonal(AP).mean() + 1j * w[: n // 2]
    B = V.mH @ B.to(V)
    return w, torch.complex(B.real, B.imag.clamp(-2.0, 2.0))


@pytest.mark.parametrize("n", [2, 8, 64])
def test_hippos_input_is_the_published_one(n):
    """But for signs. The published modes are the conjugates of those here, in reversed order."""
    lam, B = published_legs(n)
    torch.testing.assert_close(initial_poles(S4DInit.legs, n), lam.conj().flip(0))
    torch.testing.assert_close(
        hippo_input(n), (B.real.sign() * B).conj().flip(0), rtol=1e-9, atol=1e-9
    )


def test_hippos_input_is_a_trained_parameter_and_ones_are_none():
    torch.manual_seed(0)
    module = S4D(S4DConfig(init=S4DInit.legs, d_state=8, B_init="hippo"), d_model=3)
    system = module()
    for head in system.B.detach():
        torch.testing.assert_close(head[:, 0], hippo_input(8).to(head.dtype))
    system.B.abs().sum().backward()
    assert module.B is not None
    assert bool(torch.isfinite(module.B.grad).all())
    assert "B" not in dict(S4D(S4DConfig(), d_model=3).named_parameters())
    with pytest.raises(UsageError, match="B_init=hippo is the input of init=legs; init is lin"):
        S4D(S4DConfig(B_init="hippo"), d_model=3)


def test_the_scale_of_C_makes_s4d_real_start_as_published():
    """Published: ``2 sum C B ..`` with C the real part of a complex normal number of variance 1."""

    def start(**options):
        torch.manual_seed(0)
        return S4D(S4DConfig(init=S4DInit.real, **options), d_model=256).C.detach()

    torch.testing.assert_close(start(C_scale=2**0.5), 2**0.5 * start())
    published = 2 * torch.randn(256, 64, dtype=torch.cfloat).real
    assert start(C_scale=2**0.5).std() == pytest.approx(published.std().item(), rel=0.03)


# --- as in the larger published code --------------------------------------------------------------


@pytest.mark.parametrize("name", ["s4d", "s4"])
def test_heads_share_copies_in_turn(name):
    def build(n_ssm):
        torch.manual_seed(0)
        return build_parametrization(name, 6, d_state=8, n_ssm=n_ssm, train_B=True)

    shared, apart = build(2), build(None)
    names = [key for key, p in shared.named_parameters() if len(p) == 2]
    assert set(names) == {"log_decay", "frequency", "B"} | ({"P"} if name == "s4" else set())
    with torch.no_grad():
        for key in names:
            copies = shared.get_parameter(key).normal_()
            apart.get_parameter(key).copy_(torch.cat([copies] * 3))
    for key, value in shared().tensors().items():
        torch.testing.assert_close(value, apart().tensors()[key], rtol=0, atol=0)
    with pytest.raises(UsageError, match="n_ssm must divide d_model, got 4 and 6"):
        build(4)


@pytest.mark.parametrize("name", ["s4d", "s4"])
def test_softplus_starts_at_the_same_step_sizes(name):
    steps = []
    for transform in ("exp", "softplus"):
        torch.manual_seed(0)
        steps.append(build_parametrization(name, 64, dt_transform=transform)().dt)
    torch.testing.assert_close(steps[0], steps[1], rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", ["s4d", "s4"])
def test_published_groups_train_C_and_D_as_weights(name):
    module = build_parametrization(name, published_groups=True)
    options = module.optimizer_options()
    assert set(options) == {"C", "D"}
    assert all(o.rate == "main" and o.decay for o in options.values())
    assert build_parametrization(name).optimizer_options() == {}


@pytest.mark.parametrize("init", list(S4DInit))
def test_ones_can_be_trained_too(init):
    module = S4D(S4DConfig(init=init, d_state=8, train_B=True), d_model=3)
    fixed = S4D(S4DConfig(init=init, d_state=8), d_model=3)
    torch.testing.assert_close(module().B, fixed().B, rtol=0, atol=0)
    module().B.abs().sum().backward()
    assert module.B is not None
    assert module.B.grad is not None
