"""The contraction family: gain, reach, shapes and precision."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench import registry
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.errors import UsageError
from ssmbench.parametrizations.contraction import ContractionConfig, inverse_tustin
from ssmbench.testing import randomise
from tests.builders import build_layer

FAMILY = ["contraction", "contraction_block", "contraction_continuous", "l2ru_conservative"]


def module_of(name: str, d_model: int = 4, outputs: int | None = None, **options):
    entry = registry.parametrizations.get(name)
    return entry.build(entry.config(**options), d_model=d_model, outputs=outputs)


@settings(max_examples=80, deadline=None)
@given(
    name=st.sampled_from(FAMILY),
    d_state=st.sampled_from([2, 6, 32]),
    inputs=st.integers(1, 6),
    outputs=st.integers(1, 6),
    gamma=st.sampled_from([0.01, 1.0, 100.0]),
    scale=st.sampled_from([None, 0.1, 1.0, 10.0]),
    seed=st.integers(0, 10_000),
)
def test_any_shape_keeps_its_gain_in_float32(name, d_state, inputs, outputs, gamma, scale, seed):
    torch.manual_seed(seed)
    module = module_of(
        name, inputs, outputs, d_state=d_state, gamma=gamma, radius=1 - 1e-6, radius_min=0.5
    )
    if scale is not None:
        randomise(module, scale)
    system = module().detach()
    assert (system.inputs, system.outputs) == (inputs, outputs)
    assert system.is_stable()
    assert hinf_norm(system.double()).norm.item() <= gamma * (1 + 1e-5)


@pytest.mark.parametrize("name", ["contraction", "l2ru_conservative"])
def test_memory_reaches_as_far_as_asked(name):
    module = module_of(name, d_state=8, radius=1 - 1e-6, radius_min=0.9)
    gaps = 1 - module().poles().abs()
    assert gaps.min().item() == pytest.approx(1e-6, rel=0.4)  # float32's grid is 6e-8 there
    assert gaps.max().item() == pytest.approx(0.1, rel=1e-3)


def test_a_new_contraction_is_tight():
    torch.manual_seed(0)
    norms = [hinf_norm(module_of("contraction", 16)().double()).norm.item() for _ in range(5)]
    assert min(norms) > 0.9


def test_tustin_gives_the_contraction_back():
    torch.manual_seed(0)
    discrete, continuous = (
        module_of(name, d_state=8, max_phase=2.0).double()
        for name in ("contraction", "contraction_continuous")
    )
    continuous.load_state_dict(discrete.state_dict())
    there = registry.discretizers.get("tustin").build()(continuous())
    for name, tensor in discrete().tensors().items():
        assert torch.allclose(there.tensors()[name], tensor, atol=1e-9), name


@pytest.mark.parametrize("dt", [0.01, 3.0])
def test_inverse_tustin_keeps_the_gain_at_any_step(dt):
    torch.manual_seed(0)
    system = module_of("contraction", d_state=8).double()()
    continuous = inverse_tustin(system, dt)
    assert hinf_norm(continuous).norm.item() == pytest.approx(
        hinf_norm(system).norm.item(), rel=1e-7
    )


@pytest.mark.parametrize("method", ["zoh", "bilinear", "forward_euler"])
def test_only_tustin_declares_the_continuous_gain(method):
    module = module_of("contraction_continuous")
    layers = [build_layer(module, name) for name in (method, "tustin")]
    assert [layer.declared_gain() for layer in layers] == [None, 1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": 0.0}, "gamma: must be positive"),
        ({"d_state": 7}, "even"),
        ({"radius": 1.0}, "radius_min <= radius"),
        ({"radius_min": 0.0}, "0 < radius_min"),
        ({"max_phase": 4.0}, "max_phase must be in"),
    ],
)
@pytest.mark.parametrize("name", FAMILY)
def test_options_out_of_range_are_refused(name, options, message):
    with pytest.raises(UsageError, match=message):
        module_of(name, **options)


def test_the_conservative_form_bears_any_share_of_the_direct_term():
    """A share of 1 in double precision made its Cholesky factor fail: 1 of 10,000 draws."""
    torch.manual_seed(0)
    config = ContractionConfig(gamma=0.15, d_state=8)
    module = registry.parametrizations.get("l2ru_conservative").build(config, d_model=16)
    for share in (20.0, 40.0, 1e4):
        randomise(module, 10.0)
        module.share.data.fill_(share)
        assert hinf_norm(module().double()).norm.item() <= 0.15 * (1 + 1e-6)
