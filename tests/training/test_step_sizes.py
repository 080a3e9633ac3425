"""A warning before training where the discretizer makes stable layers unstable."""

from __future__ import annotations

import re

import pytest
import torch

from ssmbench.nn.model import SequenceModel
from ssmbench.nn.pooling import Pooling
from ssmbench.training.step_sizes import step_size_warning
from tests.builders import build_block, build_layer, build_model, build_parametrization


def network(discretizer: str | None, *steps: float) -> SequenceModel:
    """Layers of S4D-Lin (or L2RU where there is no discretizer), all their steps equal."""
    torch.manual_seed(0)
    blocks = []
    for dt in steps:
        if discretizer is None:
            system = build_parametrization("l2ru", 2)
        else:
            system = build_parametrization("s4d", 2, d_state=4, dt_min=dt, dt_max=dt)
        blocks.append(build_block(build_layer(system, discretizer), "gelu", 2))
    return build_model(blocks, inputs=1, d_model=2, outputs=1, pooling=Pooling.mean)


def test_warns_of_the_worst_layer_with_the_largest_stable_step():
    """Poles -1/2 and -1/2 + i pi: forward Euler is stable below 2 Re / |lam|^2."""
    said = step_size_warning(network("forward_euler", 0.001, 0.5, 5.0), "forward_euler")
    assert said.startswith("forward_euler in layers 1, 2: step size 5 makes 2 of 2 stable systems")
    limit = float(re.search(r"largest stable step (\S+)$", said)[1])
    assert limit == pytest.approx(1 / (0.25 + torch.pi**2), rel=1e-3)
    assert "\n" not in said


def test_says_nothing_where_there_is_nothing_to_say():
    assert step_size_warning(network("forward_euler", 0.001), "forward_euler") is None
    assert step_size_warning(network("zoh", 5.0), "zoh") is None
    assert step_size_warning(network(None, 1.0), "none") is None


def test_says_nothing_of_a_time_varying_layer():
    """Though forward Euler at these steps makes it unstable, frozen in time."""
    model, u = network("forward_euler", 5.0), torch.randn(1, 3, 2)
    layer = model.layers[0]
    sizes = {"d_state": 4, "dt_min": 5.0, "dt_max": 5.0}
    layer.parametrization = build_parametrization("selective", 2, **sizes)
    assert not layer.system_for(u).bank().is_stable()
    assert step_size_warning(model, "forward_euler") is None


def test_nothing_is_drawn_and_nothing_is_moved():
    model = network("forward_euler", 5.0)
    before = [p.detach().clone() for p in model.parameters()]
    state = torch.get_rng_state()
    step_size_warning(model, "forward_euler")
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())
