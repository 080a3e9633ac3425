"""Sorted pairs: outputs and derivatives of every order are those of maximum and minimum."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import forward_ad

from ssmbench.nn.nonlinearities import pair_sort
from ssmbench.nn.nonlinearities.pair_sort import sort_pairs

VALUES = [-1.0, -0.0, 0.0, 1.0, 2.0, float("inf")]  # few, so that ties are frequent


def by_maximum(x: torch.Tensor) -> torch.Tensor:
    paired = x.shape[-1] // 2 * 2
    first, second = x[..., :paired:2], x[..., 1:paired:2]
    pairs = torch.stack([torch.maximum(first, second), torch.minimum(first, second)], -1)
    return torch.cat([pairs.flatten(-2), x[..., paired:]], -1)


def gradient(function, x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(function(x), x, g)[0]


@given(st.integers(0, 7), st.integers(0, 3), st.randoms(use_true_random=False))
def test_outputs_and_gradients_are_those_of_maximum_and_minimum(width, rows, random):
    x, g = (
        torch.tensor(
            [[random.choice(VALUES[:k]) for _ in range(width)] for _ in range(rows)]
        ).reshape(rows, width)
        for k in (6, 5)
    )
    assert torch.equal(sort_pairs(x), by_maximum(x))
    assert torch.equal(gradient(sort_pairs, x, g), gradient(by_maximum, x, g))


def test_half_of_the_gradient_goes_to_each_of_two_equal_channels():
    found = gradient(
        sort_pairs, torch.tensor([[0.0, 0.0, 1.0, 2.0]]), torch.tensor([[4.0, 2, 3, 5]])
    )
    assert found.tolist() == [[3.0, 3.0, 5.0, 3.0]]


def test_what_is_not_a_number_stays_so_in_both():
    assert sort_pairs(torch.tensor([float("nan"), 1.0])).isnan().all()


def test_it_reads_strided_inputs_and_gives_the_gradient_of_an_expanded_one():
    x = torch.randn(5, 3, dtype=torch.float64).T.requires_grad_()
    assert torch.equal(sort_pairs(x), by_maximum(x))
    assert torch.equal(
        gradient(sort_pairs, x, torch.ones(()).double().expand(3, 5)), torch.ones(3, 5)
    )


def test_second_derivatives_and_forward_mode():
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: sort_pairs(x).pow(3), x)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(torch.zeros(1, 2), torch.tensor([[4.0, 2.0]]))
        assert forward_ad.unpack_dual(sort_pairs(dual)).tangent.tolist() == [[3.0, 3.0]]


def test_transforms_of_torch_func():
    x = torch.randn(3, 4, dtype=torch.float64)
    each = torch.vmap(torch.func.jacrev(sort_pairs))(x)
    assert torch.equal(each[1], torch.func.jacfwd(by_maximum)(x[1]))


def kept(function, x: torch.Tensor) -> int:
    """Bytes that the backward pass is given."""
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: sizes.append(t.nbytes) or t, lambda t: t
    ):
        function(x.requires_grad_())
    return sum(sizes)


@pytest.mark.parametrize(("x", "masks"), [(torch.arange(64.0), 1), (torch.zeros(64), 2)])
def test_it_keeps_one_boolean_for_each_pair_and_another_where_there_are_ties(x, masks):
    assert kept(sort_pairs, x) == masks * 32


def test_a_planted_fault_in_the_ties_is_found(monkeypatch):
    monkeypatch.setattr(pair_sort, "_ties", lambda first, second: None)
    x, g = torch.zeros(1, 2), torch.tensor([[4.0, 2.0]])
    assert not torch.equal(gradient(sort_pairs, x, g), gradient(by_maximum, x, g))


def test_batches_of_gradients_at_once():
    x = torch.tensor([[1.0, 2.0, 3.0, 3.0, 5.0], [2.0, 1.0, 0.0, 0.0, 1.0]], requires_grad=True)
    g = torch.randn(3, 2, 5)
    found, expected = (
        torch.autograd.grad(f(x), x, g, is_grads_batched=True)[0] for f in (sort_pairs, by_maximum)
    )
    assert torch.equal(found, expected)
    found, expected = (
        torch.autograd.functional.jacobian(f, x.detach(), vectorize=True)
        for f in (sort_pairs, by_maximum)
    )
    assert torch.equal(found, expected)
