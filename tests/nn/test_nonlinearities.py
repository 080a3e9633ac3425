"""Declared Lipschitz constants: held, tight, and absent with a reason."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench import registry

ELEMENTWISE = ["identity", "relu", "tanh", "gelu", "gelu_tanh", "silu"]
WITH_CONSTANT = [e.name for e in registry.nonlinearities if e.factory.lipschitz is not None]
#: sqrt(2) phi(sqrt(2)) + Phi(sqrt(2)), and the peaks of the slopes of the approximation by tanh and
#: of x sigmoid(x), to seven digits.
EXACT = {
    "identity": 1,
    "relu": 1,
    "tanh": 1,
    "gelu": 1.1289042,
    "gelu_tanh": 1.1289931,
    "silu": 1.0998394,
}


def build(name: str, d_model: int = 3):
    return registry.nonlinearities.get(name).build(d_model=d_model)


def largest_slope(name: str) -> float:
    x = torch.linspace(-8, 8, 320_001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(build(name)(x).sum(), x)
    return slope.abs().max().item()


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_declared_constant_is_held_and_tight(name):
    declared = build(name).bound()
    slope = largest_slope(name)
    assert slope <= declared.value <= slope * (1 + 1e-4)
    assert slope == pytest.approx(EXACT[name], abs=1e-7)
    assert declared.reason == ""


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(WITH_CONSTANT),
    seed=st.integers(0, 10_000),
    scale=st.floats(1e-3, 1e3),
    distance=st.floats(1e-6, 1e3),
    weights=st.sampled_from([0.1, 1.0, 10.0]),
)
def test_distances_grow_by_no_more_than_the_constant(name, seed, scale, distance, weights):
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    x, step = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64) * scale
    step = step / step.norm() * distance
    module = build(name).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, weights)
    after, before = module(x + step), module(x)
    rounding = 4 * torch.finfo(x.dtype).eps * (after.norm() + before.norm()).item()
    change = (after - before).norm().item()
    limit = module.bound().value * (x + step - x).norm().item() * (1 + 1e-9)
    assert change <= limit + rounding


def test_glu_has_no_constant_and_says_why():
    module = build("glu")
    assert module.bound().value == math.inf
    assert "multiplies two signals" in module.bound().reason


def test_glu_has_indeed_no_constant():
    """Where the gate is half open, moving it moves the output by as much as the value is large."""
    module = build("glu", d_model=2).double()
    with torch.no_grad():
        module.linear.bias.zero_()
        module.linear.weight.zero_()
        module.linear.weight[0, 0] = module.linear.weight[2, 1] = 1.0
    slopes = []
    for size in (10.0, 1e3, 1e5):
        x = torch.tensor([[[size, 0.0]]], dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(module, x).reshape(2, 2)
        slopes.append(torch.linalg.matrix_norm(jacobian, 2).item())
    assert slopes[1:] == pytest.approx([1e3 / 8, 1e5 / 8], rel=1e-2)
    assert slopes[0] < slopes[1]


@pytest.mark.parametrize("name", registry.nonlinearities.names())
def test_shape_is_kept_and_facts_are_plain(name):
    module = build(name)
    x = torch.randn(2, 5, 3)
    assert module(x).shape == x.shape
    (fact,) = type(module).describe().values()
    assert isinstance(fact, float) or fact.startswith("none: ")


def test_glu_is_gelu_then_a_gate():
    torch.manual_seed(0)
    module, x = build("glu"), torch.randn(2, 5, 3)
    value, gate = module.linear(torch.nn.functional.gelu(x)).chunk(2, -1)
    assert torch.allclose(module(x), value * torch.sigmoid(gate))


@pytest.mark.parametrize("name", WITH_CONSTANT)
def test_some_direction_is_kept_nearly_whole(name):
    """A constant is worth nothing where the map shrinks everything: slopes are near it."""
    torch.manual_seed(0)
    module = build(name, d_model=4).double()
    x = torch.randn(200, 4, dtype=torch.float64)
    slopes = [
        torch.linalg.matrix_norm(torch.autograd.functional.jacobian(module, point), 2).item()
        for point in x
    ]
    least = {"saturated_glu": 0.2, "sandwich": 0.5}.get(name, 0.9)
    assert least * module.bound().value < max(slopes) <= module.bound().value * (1 + 1e-9)


def test_sandwich_rows_are_orthonormal():
    module = build("sandwich", d_model=5).double()
    A, B = module.matrices()
    eye = torch.eye(5, dtype=torch.float64)
    assert torch.allclose(A @ A.T + B @ B.T, eye, atol=1e-12)


@pytest.mark.parametrize("scale", [1e5, 1e8, 1e20, 1e30])
@pytest.mark.parametrize("make", ["ones", "randn"])
def test_sandwich_rows_are_orthonormal_for_all_weights(make, scale):
    module = build("sandwich", d_model=8)
    with torch.no_grad():
        module.X.copy_(getattr(torch, make)(8, 8) * scale)
        module.Y.copy_(getattr(torch, make)(8, 1) @ getattr(torch, make)(1, 8) * scale)
    A, B = (x.double() for x in module.matrices())
    assert torch.allclose(A @ A.T + B @ B.T, torch.eye(8).double(), atol=1e-6)


def test_sll_starts_near_the_identity_and_grows_no_gap_between_scales():
    module = build("sll", d_model=4).double()
    x = torch.randn(50, 4, dtype=torch.float64)
    with torch.no_grad():
        before = module(x)
        module.weight.mul_(100)  # only the direction of a column counts
        assert torch.allclose(module(x), before)
