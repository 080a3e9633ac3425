"""The delta rule of two rotations keeps its gain, whatever selects it, also after rounding."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssmbench import registry
from ssmbench.analysis.certificate import GainClaim
from ssmbench.errors import UsageError
from ssmbench.parametrizations import contraction_delta
from ssmbench.parametrizations.contraction_delta import ContractionDeltaConfig, rotation
from ssmbench.parametrizations.gates import unit_vector
from ssmbench.systems import TimeVaryingDelta
from ssmbench.testing import randomise

SCAN = registry.scans.get("cpu").build()
ROUNDOFF = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}


def layer(gamma=1.0, keys=5, d_model=6, heads=2):
    config = ContractionDeltaConfig(gamma=gamma, d_state=keys, heads=heads)
    return registry.parametrizations.get("contraction_delta").factory(config, d_model=d_model)


def rounding_of_steps(system: TimeVaryingDelta, dtype: torch.dtype) -> float:
    """What rounding may add to the energy, relatively: docs/certified_variants.md, page's c."""
    per_step = (10 * system.states + 38) * ROUNDOFF[dtype]
    return (1 + per_step) ** (2 * system.length) - 1


def energy_ratio(system: TimeVaryingDelta, u: Tensor, gamma: float) -> float:
    """(|x_L|^2 + |y / gamma|^2) / |u|^2, from the zero state."""
    y, final = SCAN(system, u)
    energies = [t.double().square().sum().item() for t in (final, y / gamma, u)]
    return (energies[0] + energies[1]) / energies[2]


#: Free gates: angles of 0 and pi / 2 to the last bit, decays of 1 and 0, and between.
gates = st.sampled_from([-200.0, -30.0, -3.0, 0.0, 3.0, 30.0, 200.0])


@given(
    seed=st.integers(0, 2**16),
    gamma=st.sampled_from([0.1, 1.0, 30.0]),
    choice=st.lists(st.tuples(gates, gates, gates), min_size=1, max_size=40),
    same_key=st.booleans(),
    scale=st.sampled_from([1e-18, 1e-5, 1.0, 1e5]),
    dtype=st.sampled_from(list(ROUNDOFF)),
)
@settings(max_examples=60, deadline=None)
def test_energy_is_never_gained(seed, gamma, choice, same_key, scale, dtype):
    """Selections need not follow from the input: any keys, angles and decays."""
    torch.manual_seed(seed)
    module, length = layer(gamma), len(choice)
    keys = scale * torch.randn(2, length, 2, 2 * module.keys)
    keys = keys[..., : module.keys].repeat(1, 1, 1, 2) if same_key else keys
    free = torch.tensor(choice)[None, :, None, :].expand(2, -1, 2, -1)
    module._selected = lambda u: (keys, free)
    system = module(torch.zeros(2, length, 6)).map(lambda t: t.to(dtype))
    u = torch.randn(2, length, 6, 1, dtype=dtype)
    assert energy_ratio(system, u, gamma) <= 1 + rounding_of_steps(system, dtype)


def worst_step(system: TimeVaryingDelta, gamma: float) -> float:
    """The largest norm of [A B; C D] over all steps, in the coordinates of the proof."""
    bank = system.double().bank()
    upper = torch.cat([bank.A, bank.B], -1)
    lower = torch.cat([bank.C, bank.D], -1) / gamma
    return torch.linalg.matrix_norm(torch.cat([upper, lower], -2), 2).max().item()


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_every_step_is_a_contraction_and_nearly_tight(scale):
    torch.manual_seed(0)
    module = layer(3.0)
    randomise(module, scale)
    norm = worst_step(module(scale * torch.randn(4, 50, 6)).map(Tensor.detach), 3.0)
    assert 0.99999 < norm <= 1 + 1e-15


def energy_gain(system: TimeVaryingDelta) -> float:
    """The largest (|x_L|^2 + |y|^2)^(1/2) / |u| of a sequence with one key and no decay, exactly:
    the largest singular value of the map from all inputs of a channel."""
    same = system.key[:, :1].expand_as(system.key)
    system = dataclasses.replace(system, key=same, query=same, decay=torch.ones_like(system.decay))
    length = system.length
    system = system.map(lambda t: t.expand(length, *t.shape[1:]))
    impulses = torch.zeros(length, length, system.heads, 1)
    impulses[..., 0, 0] = torch.eye(length)
    y, final = SCAN(system, impulses)
    return torch.linalg.matrix_norm(torch.cat([y[:, :, 0, 0], final[:, 0]], 1), 2).item()


LIES = {
    "the sine is one": ("rotation", lambda free: (rotation(free)[0], torch.ones_like(free))),
    "the sine is dropped by sqrt(2)": (
        "rotation",
        lambda free: (rotation(free)[0], 2**0.5 * rotation(free)[1]),
    ),
    "keys have no unit norm": ("unit_vector", lambda free: 1.2 * unit_vector(free)),
    "keys are not normalised": ("unit_vector", lambda free: free),
    "half is forgotten": ("rotation", lambda free: (0.5 * rotation(free)[0], rotation(free)[1])),
}


@pytest.mark.parametrize("lie", LIES)
def test_planted_lies_are_seen(lie, monkeypatch):
    """By the norm of a step, and by the gain over all steps together."""
    monkeypatch.setattr(contraction_delta, *LIES[lie])
    torch.manual_seed(1)
    module = layer()
    randomise(module, 1.0)
    system = module(torch.randn(1, 30, 6)).map(Tensor.detach)
    assert worst_step(system, 1.0) > 1.1
    assert energy_gain(system) > 1 + rounding_of_steps(system, torch.float32)


def test_the_truth_is_within_and_nearly_tight():
    torch.manual_seed(1)
    module = layer()
    randomise(module, 1.0)
    system = module(torch.randn(1, 30, 6)).map(Tensor.detach)
    assert 0.95 < energy_gain(system) <= 1 + rounding_of_steps(system, torch.float32)


def test_a_margin_that_is_left_out_is_seen(monkeypatch):
    """Without the shrinking by some units of roundoff a key's float32 norm exceeds 1."""
    torch.manual_seed(0)
    free = torch.randn(2000, 16)
    assert unit_vector(free).double().square().sum(-1).max() <= 1
    plain = free * torch.rsqrt(free.square().sum(-1, keepdim=True))
    assert plain.double().square().sum(-1).max() > 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rotations_never_gain(dtype):
    """s^2 <= d (2 - d) for angles down to the smallest, up to pi / 2."""
    free = torch.cat([torch.linspace(-100, 100, 20001), torch.linspace(-3, 3, 20001)]).to(dtype)
    forget, sine = rotation(free)
    assert bool((sine.double().square() <= forget.double() * (2 - forget.double())).all())
    if dtype == torch.float32:
        plain = torch.sin(torch.pi / 2 * torch.sigmoid(free)).double().square()
        assert bool((plain > forget.double() * (2 - forget.double())).any())
    assert 0 < forget[0] < 1e-36  # a state can be held exactly


def test_gradients_are_finite_at_the_ends():
    free = torch.tensor([-200.0, -20.0, 0.0, 200.0], requires_grad=True)
    forget, sine = rotation(free)
    keys = torch.zeros(2, 3, requires_grad=True)
    (forget.sum() + sine.sum() + unit_vector(keys).sum()).backward()
    assert bool(free.grad.isfinite().all() and keys.grad.isfinite().all())


def test_the_claim_is_zero_state_and_differences_can_grow():
    """The counterexample: one input selects whether the state, which another filled, is read."""
    entry = registry.parametrizations.get("contraction_delta")
    assert entry.factory.gain_claim is GainClaim.zero_state
    system = TimeVaryingDelta(
        key=torch.ones(1, 40, 1, 1),
        query=torch.ones(1, 40, 1, 1),
        decay=torch.ones(1, 40, 1, 1),
        **{name: torch.zeros(1, 40, 1) for name in ("forget", "write", "erase", "read")},
    )
    angle = torch.full((1, 39, 1), 0.2)
    system.write[:, :39], system.forget[:, :39] = torch.sin(angle), 1 - torch.cos(angle)
    read = dataclasses.replace(system, read=system.read.clone())
    read.read[:, 39] = 1
    u = torch.ones(1, 40, 1, 1)
    held, given = (SCAN(s, u)[0] for s in (system, read))
    assert (given - held).norm() > 2  # for inputs that differ by as little as one likes


def test_options_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="heads must divide d_model, got 4 and 6"):
        layer(heads=4)
    factory = registry.parametrizations.get("contraction_delta").factory
    with pytest.raises(UsageError, match=r"decay must be in \(0, 1\), got 1.0"):
        factory(ContractionDeltaConfig(decay=1.0), d_model=4)
    assert [factory(ContractionDeltaConfig(), d_model=d).heads for d in (1, 6, 64)] == [1, 2, 4]


def test_a_signal_apart_from_the_input_may_select():
    factory = registry.parametrizations.get("contraction_delta").factory
    module = factory(ContractionDeltaConfig(d_state=3), d_model=4, d_selection=7)
    system = module(torch.randn(2, 5, 7))
    assert (system.heads, system.states, system.groups) == (4, 3, 4)
