"""Selective layers of a prescribed zero-state gain: steps are contractions as scanned in floats."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench.analysis.certificate import GainClaim
from ssmbench.analysis.selected_gain import selected_gain
from ssmbench.config import AnalysisConfig
from ssmbench.errors import UsageError
from ssmbench.parametrizations import contraction_steps, gates, peak_form
from ssmbench.parametrizations.contraction_selective import (
    ContractionSelective,
    ContractionSelectiveConfig,
)
from ssmbench.parametrizations.gates import angle_gate, shrunk, unit_vector
from ssmbench.testing import randomise
from ssmbench.training.adversary import attack_varying, layer_map
from ssmbench.training.gains import measure_gains
from ssmbench.training.layer_analysis import LayerInput
from tests.builders import build_layer, build_parametrization
from tests.nn.test_certified_block import CONFIG, network, tokens


def selective(d_model: int = 4, selection: int | None = 3, **options) -> ContractionSelective:
    torch.manual_seed(0)
    config = ContractionSelectiveConfig(**options)
    return ContractionSelective(config, d_model=d_model, d_selection=selection)


def step_matrices(system) -> torch.Tensor:
    """[A B; C D] of every step, sequence and channel, in double precision."""
    system = system.expanded().double()
    lam, B, C, D = system.lam, system.B, system.C, system.D
    return torch.cat([torch.cat([lam.diag_embed(), B], -1), torch.cat([C, D], -1)], -2)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**31),
    states=st.sampled_from([1, 3, 16, 200]),
    scale=st.floats(-2, 6),
    gamma=st.floats(-3, 3),
)
def test_every_step_is_a_contraction_for_any_selection(seed, states, scale, gamma):
    module = selective(d_state=states, gamma=10**gamma)
    torch.manual_seed(seed)
    with torch.no_grad():
        step = step_matrices(module(10**scale * torch.randn(2, 3, 3)))
    step[..., -1, :] /= 10**gamma
    assert torch.linalg.matrix_norm(step, 2).max() <= 1


def test_what_is_left_for_the_scans_rounding_is_small_and_there():
    """With the read gate closed, a step is one rotation, of norm 1 in exact arithmetic."""
    module, unit = selective(d_state=16), 2.0**-24
    with torch.no_grad():
        module.select.bias[64:128] = -60
        steps = step_matrices(module(torch.randn(9, 9, 3)))
    left = 1 - torch.linalg.matrix_norm(steps, 2)
    assert ((left > 10 * unit) & (left < 50 * unit)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gates_near_one_keep_their_energy_and_a_finite_slope(dtype):
    z = torch.tensor([-60.0, -20.0, -9.0, -8.0, -4.0, 0.0, 8.0, 40.0], dtype=dtype)
    z = z.requires_grad_()
    a, s = angle_gate(z)
    excess = (a.detach().double() ** 2 + s.detach().double() ** 2 - 1).abs().max()
    assert excess < 4 * torch.finfo(dtype).eps
    (slope,) = torch.autograd.grad(s.sum(), z)
    expected = torch.autograd.grad(torch.sin(torch.pi / 2 * torch.sigmoid(z)).sum(), z)[0]
    assert torch.equal(slope, expected)
    assert slope.isfinite().all()


def test_unit_vectors_are_not_longer_than_one():
    v = torch.cat([torch.randn(4000, 7), 1e-20 * torch.randn(9, 7), torch.full((2, 7), 3e38)])
    norms = torch.linalg.vector_norm(unit_vector(v).double(), dim=-1)
    assert norms.max() <= 1
    assert norms[:4000].min() > 0.9999
    assert torch.isfinite(torch.autograd.functional.jacobian(unit_vector, torch.zeros(3))).all()


def test_shrinking_makes_up_for_as_many_roundings():
    x = torch.rand(10_000) + 0.5
    up = torch.nextafter(shrunk(x, 24) * 1, torch.tensor(torch.inf))
    for _ in range(10):
        up = torch.nextafter(up, torch.tensor(torch.inf))
    assert (up.double() <= x.double()).all()


def attacked(module, steps: int = 60, length: int = 40) -> float:
    """The largest ratio that is found, in the layer's own precision, as it is scanned."""
    torch.manual_seed(1)
    randomise(module, 1.0)
    layer = build_layer(module)
    u, s = torch.randn(4, length, module.d_model), torch.randn(4, length, module.d_selection)
    return selected_gain(layer_map(layer), u, s, 16, steps, seed=0)


def test_the_declared_gain_is_reached():
    """One step writes everything that comes, the next reads it all."""
    module = selective(d_model=1, selection=1, d_state=3, gamma=2.0)
    with torch.no_grad():
        module.select.weight.zero_()
        module.select.weight[:3], module.select.weight[3:6] = 60.0, -60.0
        module.select.bias[:6], module.select.bias[6:] = 0.0, 1.0
    u, s = torch.tensor([[[5.0], [0.0]]]), torch.tensor([[[1.0], [-1.0]]])
    y = build_layer(module)(u, None, s).flatten().tolist()
    assert y[0] == pytest.approx(0, abs=1e-6)
    assert 0.99999 < y[1] / 10 <= 1


LIES = {
    "c is not normalised": ("unit_vector", lambda v: v),
    "s is dropped": ("angle_gate_values", lambda z: (angle_gate(z)[0], torch.ones_like(z))),
    "s is too large": (
        "angle_gate_values",
        lambda z: (angle_gate(z)[0], 2**0.5 * angle_gate(z)[1]),
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_planted_lies_are_found_by_the_attack(lie, monkeypatch):
    name, wrong = LIES[lie]
    assert attacked(selective()) <= 1
    monkeypatch.setattr(contraction_steps, name, wrong)
    assert attacked(selective()) > 1 + 1e-3


def test_memory_lasts_as_long_as_the_gates_say():
    module = selective(time_min=50.0, time_max=50.0)
    with torch.no_grad():
        module.select.weight.zero_()
        lam = module(torch.zeros(1, 1, 3)).lam
    torch.testing.assert_close(lam, torch.full_like(lam, torch.e ** (-2 / 50)), rtol=1e-4, atol=0)


def test_channels_of_a_group_are_selected_alike_and_groups_apart():
    lam = selective(d_model=6, heads=2)(torch.randn(1, 2, 3)).expanded().lam
    assert torch.equal(lam[:, :, 0], lam[:, :, 2])
    assert not torch.equal(lam[:, :, 2], lam[:, :, 3])
    assert build_parametrization("contraction_selective", 6).groups == 2
    assert gates.groups_of(0, 8) == 4


# --- on a ball ----------------------------------------------------------------------------------


def on_ball(radius: float = 1.0, d_model: int = 3, states: int = 4, seed: int = 0, **options):
    torch.manual_seed(seed)
    config = ContractionSelectiveConfig(d_state=states, ball=radius, **options)
    return ContractionSelective(config, d_model=d_model).double()


def differences(module, length: int, steps: int = 60, sizes=(0.5, 1.0, 3.0)) -> float:
    """The largest incremental gain that the attack finds, on and beyond the ball."""
    layer = build_layer(module)
    u = torch.cat([s * torch.randn(2, length, module.d_model) for s in sizes]).double()
    config = AnalysisConfig(attack_steps=steps, attack_restarts=8)
    return attack_varying(layer, LayerInput(u), config)[1]


@pytest.mark.parametrize("seed", range(4))
def test_differences_stay_below_the_declared_gain_on_a_ball(seed):
    module = on_ball(radius=(0.3, 1.0, 5.0, 1.0)[seed], seed=seed, gamma=2.0)
    randomise(module, (0.5, 2.0, 1.0, 6.0)[seed])
    assert module.gain_claim is GainClaim.incremental
    assert 0.02 < differences(module, 24) / 2 <= 1


def test_the_incremental_gain_does_not_depend_on_the_length():
    """Where the zero-state form grows with the root of the length."""
    free, bound = selective(d_model=2, selection=None, d_state=1, heads=1), on_ball(d_model=2)
    with torch.no_grad():
        free.select.weight.zero_()
        free.select.bias[:] = torch.tensor([-4.5, -20.0, 1.0, 1.0])
        free.select.weight[1, 1] = 20.0  # the second channel opens the read gate
    free = free.double()
    found = {}
    for length in (50, 200):
        u = torch.zeros(1, length, 2).double()
        u[:, :-1, 0] = 1.0
        d = torch.zeros_like(u)
        d[:, -1, 1] = 1.0
        change = [build_layer(m)(u + d) - build_layer(m)(u) for m in (free, bound)]
        found[length] = [c.norm().item() for c in change]
    assert found[200][0] > 1.5 * found[50][0]
    assert 0 < found[200][1] <= 1.1 * found[50][1]


#: What is left out, and the slopes of the second channel in write gate, read gate, beta and c.
PLANTED = {
    "root_slope": (20.0, 0.0, 0.0, 0.0),
    "tanh_slope": (0.0, 0.0, 8.0, 0.0),
}


@pytest.mark.parametrize("part", PLANTED)
def test_planted_lies_about_slopes_are_found(part, monkeypatch):
    """A state that the first channel fills, selected by the second."""
    module = on_ball(states=1, d_model=2)
    with torch.no_grad():
        module.select.weight.zero_()
        module.select.weight[:, 1] = torch.tensor(PLANTED[part])
        module.select.bias[:] = torch.tensor([0.0, 0.0, 2.0 if part == "root_slope" else 0.0, 3.0])
    assert differences(module, 12) < 1
    right = getattr(peak_form.Ranges, part)
    monkeypatch.setattr(peak_form.Ranges, part, lambda self: 0.01 * right(self))
    assert differences(module, 12) > 1 + 1e-3


def test_a_ball_needs_its_own_input_and_one_head():
    with pytest.raises(UsageError, match=r"set model\.block\.selection=input"):
        ContractionSelective(ContractionSelectiveConfig(ball=1.0), d_model=4, d_selection=3)
    with pytest.raises(UsageError, match="ball: has one head, got heads=2"):
        ContractionSelective(ContractionSelectiveConfig(ball=1.0, heads=2), d_model=4)


def test_an_incremental_network_on_a_ball():
    block = {"name": "certified", "gate": False, "selection": "input", "delay": True}
    layer = {"name": "contraction_selective", "d_state": 3, "ball": 1.0, "gamma": 2.0}
    model = network(layer, block=block, gamma=None)
    assert model.gain_claim is GainClaim.incremental
    found = measure_gains(model, tokens(), CONFIG).gain
    assert math.isfinite(found.network.bound)
    assert found.network.attacked <= found.network.bound
    assert [x.claim for x in found.layers] == ["incremental"] * 2
    assert found.violations == ()
    x = torch.randn(2, 7, 6)
    whole, state, parts = model.blocks[0](x), None, []
    for chunk in x.split((1, 4, 2), 1):
        y, state = model.blocks[0].stream(chunk, state)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), whole)
