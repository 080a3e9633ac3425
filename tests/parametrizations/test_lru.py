"""LRU's ring, its normalisation, and the paper's recurrence."""

import math
from decimal import Decimal, localcontext

import pytest
import torch

from ssmbench import registry
from ssmbench.analysis.gain import analyse
from ssmbench.errors import UsageError
from ssmbench.parametrizations.lru import LRU, LRUConfig, ring_decays, unit_variance


def test_moduli_and_angles_start_within_the_ring():
    torch.manual_seed(0)
    lam = LRU(LRUConfig(d_state=2000, r_min=0.6, r_max=0.8, max_phase=0.5), d_model=2)().lam[0]
    assert 0.6 * (1 - 1e-5) <= lam.abs().min() < 0.61
    assert 0.79 < lam.abs().max() <= 0.8 * (1 + 1e-5)
    assert 0 <= lam.angle().min() < 0.01
    assert 0.49 < lam.angle().max() <= 0.5 * (1 + 1e-5)


def test_moduli_are_uniform_in_area():
    torch.manual_seed(0)
    area = torch.exp(-2 * ring_decays(20_000, 0.3, 0.9))
    quantiles = torch.quantile((area - 0.09) / 0.72, torch.linspace(0.1, 0.9, 9).double())
    torch.testing.assert_close(quantiles, torch.linspace(0.1, 0.9, 9).double(), atol=0.02, rtol=0)


@pytest.mark.parametrize("decay", [1e-12, 1e-6, 0.1, 5.0])
def test_normalisation_has_no_cancellation(decay):
    with localcontext() as context:
        context.prec = 40
        expected = float((1 - (-2 * Decimal(decay)).exp()).sqrt())
    found = unit_variance(torch.tensor([decay], dtype=torch.float64)).item()
    assert found == pytest.approx(expected, rel=1e-14)
    single = unit_variance(torch.tensor([decay])).item()
    assert single == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("r_max", [0.9, 0.999999])
@pytest.mark.parametrize("learn_gamma", [True, False])
def test_white_input_gives_states_of_unit_variance(r_max, learn_gamma):
    """E |x_n|^2 = |b_n|^2 / (1 - |lam_n|^2), which is |B_n|^2 of the unnormalised B, 1 on average
    over its draws (proposition 3.3)."""
    torch.manual_seed(0)
    options = LRUConfig(d_state=400, r_min=0.5, r_max=r_max, learn_gamma=learn_gamma)
    module = LRU(options, d_model=32)
    system = module().detach().double()
    variance = system.B[0].abs().square().sum(-1) / (1 - system.lam[0].abs().square())
    raw = module.B.detach().double().square().sum((-2, -1))
    torch.testing.assert_close(variance, raw, rtol=0.2 if r_max > 0.99 else 1e-4, atol=0)
    assert variance.mean().item() == pytest.approx(1, abs=0.05)


def test_simulated_states_have_unit_variance():
    torch.manual_seed(0)
    system = LRU(LRUConfig(d_state=200, r_min=0.5, r_max=0.95), d_model=64)().detach()
    x, total = torch.zeros(1, 100, dtype=torch.cfloat), 0.0
    for k in range(2200):
        x = system.lam * x + torch.randn(1, 64).to(torch.cfloat) @ system.B[0].mT
        total += x.abs().square().mean().item() / 2000 if k >= 200 else 0.0
    assert total == pytest.approx(1, abs=0.08)


def test_output_is_that_of_the_papers_recurrence():
    """x = lam x + gamma (B u), y = Re(C x) + D u with the paper's C, twice ours."""
    torch.manual_seed(0)
    module = LRU(LRUConfig(d_state=6), d_model=3).double()
    u, system = torch.randn(20, 3, dtype=torch.float64), module()
    C = 2 * torch.view_as_complex(module.C)
    B = module.log_gamma.exp()[:, None] * torch.view_as_complex(module.B)
    x, expected = torch.zeros(3, dtype=torch.cdouble), []
    for now in u:
        expected.append((C @ x).real + module.D * now)
        x = system.lam[0] * x + B @ now.to(B.dtype)
    y, _ = registry.scans.get("reference").build()(system, u[None, :, None], None)
    torch.testing.assert_close(y[0, :, 0], torch.stack(expected), rtol=1e-10, atol=1e-12)
    decay = module.nu.exp()
    lam = torch.exp(torch.complex(-decay, module.theta.exp()))
    torch.testing.assert_close(system.lam[0], lam, rtol=0, atol=3e-7)


@pytest.mark.parametrize("nu", [-100.0, -20.0, 0.0, 10.0])
def test_stable_wherever_the_parameters_go(nu):
    module = LRU(LRUConfig(d_state=64), d_model=2)
    with torch.no_grad():
        module.nu.fill_(nu)
    report = analyse(module().detach())
    assert report.stable
    assert math.isfinite(report.hinf)


def test_gamma_follows_the_poles_only_where_asked():
    for learn_gamma in (True, False):
        module = LRU(LRUConfig(d_state=4, learn_gamma=learn_gamma), d_model=2)
        before = module().B.detach()
        with torch.no_grad():
            module.nu += 1
        assert torch.equal(module().B.detach(), before) == learn_gamma


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"d_state": 5}, "even"),
        ({"r_min": 0.9, "r_max": 0.8}, "r_min < r_max"),
        ({"r_max": 1.1}, "r_max <= 1"),
        ({"max_phase": 0.0}, "max_phase"),
    ],
)
def test_impossible_options_are_refused(options, says):
    with pytest.raises(UsageError, match=says):
        registry.parametrizations.get("lru").build(LRUConfig(**options), d_model=2)
