"""Empty batches give empty outputs; signals without steps are refused, by every variant alike."""

from __future__ import annotations

import pytest
import torch

from ssmbench import registry
from ssmbench.errors import UsageError
from tests.builders import build_layer, discretizer_for

registry.discover_plugins()
VARIANTS = [e.name for e in registry.parametrizations]
SCANS = [e.name for e in registry.scans]


def layer_of(name, scan="auto"):
    return build_layer(name, discretizer_for(name), scan)


def runs(layer):
    """Whether the scan can run the layer on this machine."""
    try:
        layer(torch.zeros(1, 3, 4))
    except UsageError:
        return False
    return True


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("name", VARIANTS)
def test_an_empty_batch_has_an_empty_output_and_gradients_of_zero(name, scan):
    layer = layer_of(name, scan)
    if not runs(layer):
        pytest.skip(f"{scan} cannot run {name} here")
    u = torch.zeros(0, 5, 4, requires_grad=True)
    y = layer(u)
    assert (y.shape, y.dtype) == (u.shape, torch.float32)
    y.sum().backward()
    assert u.grad.shape == u.shape
    assert all(p.grad is not None and not p.grad.any() for p in layer.parameters())


@pytest.mark.parametrize("name", VARIANTS)
def test_the_state_and_steps_of_an_empty_batch_are_empty(name):
    layer = layer_of(name)
    _, state = layer.run(torch.zeros(2, 3, 4))
    y, final = layer.run(torch.zeros(0, 3, 4), state[:0])
    assert (y.shape, final.shape) == ((0, 3, 4), (0, *state.shape[1:]))
    assert final.dtype == state.dtype


@pytest.mark.parametrize("name", ["s4d", "selective"])
def test_an_empty_batch_may_have_steps_of_its_own(name):
    assert layer_of(name)(torch.zeros(0, 3, 4), torch.ones(0, 3)).shape == (0, 3, 4)


@pytest.mark.parametrize("shape", [(2, 0, 4), (0, 0, 4)])
@pytest.mark.parametrize("name", VARIANTS)
def test_a_signal_without_steps_is_refused_in_one_sentence(name, shape):
    with pytest.raises(UsageError, match=r"at least one step, got \("):
        layer_of(name)(torch.zeros(shape))
