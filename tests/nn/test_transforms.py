"""Layers under second derivatives, ``torch.func`` and ``torch.export``."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from ssmbench import registry
from ssmbench.nn.layer import SSMLayer
from tests.builders import build_layer, discretizer_for

NAMES = [entry.name for entry in registry.parametrizations]


def layer_of(name: str, scan: str = "auto", d_model: int = 4) -> SSMLayer:
    return build_layer(name, discretizer_for(name), scan, d_model=d_model, seed=0).double()


def second(layer: SSMLayer, u: torch.Tensor) -> list[torch.Tensor]:
    """Gradients of the sum of the gradients of a result that is linear in the outputs."""
    parameters = [p for name, p in layer.named_parameters()]
    options = {"allow_unused": True, "materialize_grads": True}
    first = torch.autograd.grad(layer(u).sum(), parameters, create_graph=True, **options)
    return torch.autograd.grad(sum(g.square().sum() for g in first), parameters, **options)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("d_model", [1, 4])
def test_second_derivatives_are_those_of_the_reference(name, d_model):
    layer, reference = (layer_of(name, scan, d_model) for scan in ("auto", "reference"))
    u = torch.randn(2, 9, d_model, dtype=torch.float64)
    for found, expected in zip(second(layer, u), second(reference, u), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8, equal_nan=True)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_each_sample(name):
    layer, u = layer_of(name), torch.randn(3, 9, 4, dtype=torch.float64)
    parameters = {k: p.detach() for k, p in layer.named_parameters()}

    def loss(parameters, u):
        return torch.func.functional_call(layer, parameters, (u[None],)).square().sum()

    together = torch.vmap(torch.func.grad(loss), (None, 0))(parameters, u)
    alone = torch.func.grad(loss)(parameters, u[1])
    for key, expected in alone.items():
        torch.testing.assert_close(together[key][1], expected, rtol=1e-8, atol=1e-10)


def test_hessian_of_l2ru_against_finite_differences_of_the_reference():
    layer, reference = (layer_of("l2ru", scan) for scan in ("auto", "reference"))
    u = torch.randn(1, 6, 4, dtype=torch.float64)
    name, start = next((k, p.detach()) for k, p in layer.named_parameters() if p.numel() > 1)

    def loss(module, value):
        return torch.func.functional_call(module, {name: value}, (u,)).sum()

    hessian = torch.autograd.functional.hessian(lambda v: loss(layer, v), start)
    step = torch.zeros_like(start)
    step.view(-1)[1] = 1e-5
    ends = [torch.func.grad(lambda v: loss(reference, v))(start + s) for s in (step, -step)]
    column = hessian.reshape(start.numel(), -1)[:, 1].reshape(start.shape)
    torch.testing.assert_close(column, (ends[0] - ends[1]) / 2e-5, rtol=1e-5, atol=1e-7)


TRACED = """
import sys, torch
sys.path.insert(0, {root!r})
from tests.nn.test_transforms import layer_of
for name in ("s4d", "l2ru", "contraction"):
    layer, u = layer_of(name), torch.randn(2, 9, 4, dtype=torch.float64)
    dims = dict(u={{0: torch.export.Dim("B", min=2), 1: torch.export.Dim("L", min=3)}})
    program = torch.export.export(layer, (u,), dynamic_shapes=dims)
    longer = torch.cat([u, u, u], 1)
    torch.testing.assert_close(program.module()(longer), layer(longer))
    print(name)
"""


def test_export(root):
    """In a process of its own: a kernel that got a fake tensor's address would end it."""
    code = TRACED.format(root=str(root))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.split() == ["s4d", "l2ru", "contraction"]
