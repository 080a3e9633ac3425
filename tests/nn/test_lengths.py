"""What stands in the padding changes no output and no gradient, and has none itself."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench import registry
from ssmbench.errors import UsageError
from ssmbench.lengths import reversed_time
from ssmbench.nn.pooling import Pooling
from tests.nn.networks import NAMES, error, network, signal

POOLINGS = [None, *Pooling]


def padded(batch: int, total: int, lengths: torch.Tensor, filling: torch.Tensor) -> torch.Tensor:
    beyond = torch.arange(total) >= lengths[:, None]
    return torch.where(beyond[..., None], filling, signal(batch, total))


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    extra=st.integers(0, 20),
    bidirectional=st.booleans(),
    learned=st.booleans(),
    pooling=st.sampled_from(POOLINGS),
    norm=st.sampled_from(registry.norms.names()),
    size=st.sampled_from([1.0, 1e6]),
)
def test_a_padded_batch_gives_what_each_sequence_gives_alone(
    name, lengths, extra, bidirectional, learned, pooling, norm, size
):
    model = network(name, bidirectional=bidirectional, learned=learned, pooling=pooling, norm=norm)
    total, batch = max(lengths) + extra, len(lengths)
    steps = torch.tensor(lengths)
    filling = size * torch.randn(batch, total, 2, dtype=torch.float64)
    u = padded(batch, total, steps, filling).requires_grad_()
    y = model(u, steps)
    for index, length in enumerate(lengths):
        alone = model(u[index : index + 1, :length])[0]
        found = y[index] if pooling else y[index, :length]
        assert error(found, alone) < 1e-9
        assert pooling or not y[index, length:].any()  # zero, as promised
    (gradient,) = torch.autograd.grad(y.square().sum(), u)
    for index, length in enumerate(lengths):
        assert not gradient[index, length:].any()
        assert gradient[index, length - 1].any()


@pytest.mark.parametrize("nonlinearity", registry.nonlinearities.names())
@pytest.mark.parametrize("pooling", POOLINGS, ids=str)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_outputs_and_all_gradients_are_bitwise_free_of_the_padding(
    nonlinearity, pooling, bidirectional
):
    """NaN in it included."""
    model = network("s4d", nonlinearity=nonlinearity, pooling=pooling, bidirectional=bidirectional)
    steps, results = torch.tensor([9, 1, 14]), []
    for value in (0.0, 1e9, math.nan, -math.inf):
        filling = torch.full((3, 14, 2), value, dtype=torch.float64)
        u = padded(3, 14, steps, filling).requires_grad_()
        y = model(u, steps)
        total = y.square().sum()
        results.append([y, *torch.autograd.grad(total, [*model.parameters(), u])])
    for found in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found, results[0], strict=True))
    assert torch.isfinite(results[0][0]).all()


@pytest.mark.parametrize("pooling", POOLINGS, ids=str)
def test_without_lengths_the_padding_does_matter(pooling):
    """Else the tests above could not fail."""
    model, steps = network("s4d", pooling=pooling, bidirectional=True), torch.tensor([5])
    u = padded(1, 12, steps, torch.ones(1, 12, 2, dtype=torch.float64))
    assert error(model(u, steps), model(u)) > 1e-3


@pytest.mark.parametrize("pooling", POOLINGS, ids=str)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_full_lengths_are_no_lengths(pooling, bidirectional):
    model = network("contraction", pooling=pooling, bidirectional=bidirectional)
    u = signal(2, 12)
    assert error(model(u, torch.tensor([12, 12])), model(u)) < 1e-12


def test_reversed_time_leaves_the_padding_and_undoes_itself():
    x = torch.arange(8.0).reshape(2, 4, 1)
    lengths = torch.tensor([3, 1])
    turned = reversed_time(x, lengths)
    assert turned[..., 0].tolist() == [[2, 1, 0, 3], [4, 5, 6, 7]]
    assert torch.equal(reversed_time(turned, lengths), x)
    assert torch.equal(reversed_time(x, None), reversed_time(x, torch.tensor([4, 4])))


@pytest.mark.parametrize(
    ("lengths", "says"),
    [
        (torch.tensor([1, 13]), r"must be in 1\.\.12"),
        (torch.tensor([0, 5]), r"must be in 1\.\.12"),
        (torch.tensor([3]), "must be 2 whole numbers"),
        (torch.tensor([3.0, 4.0]), "must be 2 whole numbers"),
        (torch.tensor([True, True]), "must be 2 whole numbers"),
    ],
)
def test_lengths_that_cannot_be_are_refused(lengths, says):
    with pytest.raises(UsageError, match=says):
        network("s4d")(signal(2, 12), lengths)
