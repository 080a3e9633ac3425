"""Steps of selective contractions, a part at a time, against their definition and its gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ssmbench.parametrizations import contraction_steps as steps
from ssmbench.parametrizations.contraction_steps import by_definition, contraction_steps

GAMMA = 1.7


def selected(dtype: torch.dtype = torch.float64) -> Tensor:
    """Raw gates and vectors (2, 7, 4, 2, 3): some gates are closed or open, some vectors zero, long
    or beyond what is held."""
    torch.manual_seed(0)
    raw = 2 * torch.randn(2, 7, 4, 2, 3, dtype=dtype)
    raw[0, 0, :2], raw[0, 1, :2] = -60, 60
    raw[0, 2, 2:], raw[1, 3, 2:, 1], raw[1, 4, 3, 0, 1] = 0, 1e3, 1e18
    return raw


def gradients(function, raw: Tensor) -> list[Tensor]:
    """The results, and the gradient for fixed weights of them."""
    raw = raw.detach().requires_grad_()
    found = function(raw, GAMMA)
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(x.shape, generator=generator).to(x) for x in found]
    return [*found, *torch.autograd.grad(found, raw, weights)]


@pytest.mark.parametrize("part", [1, 50, 1 << 17])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_are_those_of_the_definition_and_so_are_gradients(dtype, part, monkeypatch):
    monkeypatch.setattr(steps, "_PART", part)
    *found, gradient = gradients(contraction_steps, selected(dtype))
    *expected, exact = gradients(by_definition, selected(dtype))
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    scale = exact.abs().amax((-3, -2, -1), keepdim=True)  # of a step: some vectors are tiny
    assert ((gradient - exact).abs() <= 20 * torch.finfo(dtype).eps * scale).all()


def test_one_step_and_none():
    raw = torch.randn(3, 4, 1, 2, requires_grad=True)
    assert [x.shape for x in contraction_steps(raw, 1.0)] == [(3, 1, 2)] * 3 + [(3, 1)]
    none = contraction_steps(torch.randn(2, 0, 4, 1, 2, requires_grad=True), 1.0)
    assert [x.shape for x in none] == [(2, 0, 1, 2)] * 3 + [(2, 0, 1)]
    none[0].sum().backward()


def test_derivatives_of_the_gradient():
    raw = torch.randn(1, 2, 4, 2, 3, dtype=torch.float64, requires_grad=True)

    def function(raw):
        return contraction_steps(raw, GAMMA)

    assert torch.autograd.gradcheck(function, raw)
    assert torch.autograd.gradgradcheck(function, raw)


def test_batches_of_gradients_forward_mode_and_function_transforms():
    raw = torch.randn(1, 2, 4, 1, 2, dtype=torch.float64)

    def energy(function):
        return lambda raw: torch.stack([x.square().sum() for x in function(raw, GAMMA)])

    exact = torch.autograd.functional.jacobian(energy(by_definition), raw)
    ours = energy(contraction_steps)
    vectorized = torch.autograd.functional.jacobian(ours, raw, vectorize=True)
    torch.testing.assert_close(vectorized, exact)
    torch.testing.assert_close(torch.func.jacrev(ours)(raw), exact)
    torch.testing.assert_close(torch.func.jacfwd(ours)(raw), exact)


def test_what_was_selected_is_all_that_is_kept():
    kept: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    raw = torch.randn(2, 5, 4, 1, 3, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        contraction_steps(raw, 1.0)
    assert [tensor.data_ptr() for tensor in kept] == [raw.data_ptr()]
