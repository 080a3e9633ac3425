"""A signal in chunks of any lengths gives what the whole signal gives at once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench.errors import UsageError
from ssmbench.nn.freeze import freeze
from ssmbench.nn.pooling import Pooling
from ssmbench.nn.stream import StreamState
from tests.nn.networks import NAMES, error, network, signal

#: Rounding of a few dozen steps through two layers and a decoder.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}


def in_chunks(model, u, chunks, state=None):
    outputs = []
    for chunk in u.split(chunks, 1):
        y, state = model.stream(chunk, state)
        outputs.append(y)
    return outputs, state


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    chunks=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    learned=st.booleans(),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    seed=st.integers(0, 1000),
)
def test_chunks_of_any_lengths_give_the_whole(name, chunks, learned, dtype, seed):
    model = network(name, learned=learned, seed=seed, dtype=dtype)
    u = signal(2, sum(chunks), dtype)
    with torch.no_grad():
        expected = model(u)
        outputs, state = in_chunks(model, u, chunks)
    assert error(torch.cat(outputs, 1), expected) < TOLERANCE[dtype]
    assert state.steps == sum(chunks)
    assert len(state.layers) == len(model.layers)


@pytest.mark.parametrize("name", NAMES)
def test_step_by_step_is_the_whole(name):
    model, u = network(name), signal(2, 30)
    with torch.no_grad():
        outputs, _ = in_chunks(freeze(model), u, 1)
        assert error(torch.cat(outputs, 1), model(u)) < 1e-10


@pytest.mark.parametrize("name", NAMES)
def test_the_state_is_what_remembers(name):
    """Without it, the second chunk is another signal: else the tests above could not fail."""
    model, u = network(name), signal(2, 30)
    with torch.no_grad():
        _, state = model.stream(u[:, :15])
        carried, _ = model.stream(u[:, 15:], state)
        forgot, _ = model.stream(u[:, 15:])
    assert error(forgot, carried) > 1e-4


@pytest.mark.parametrize("pooling", Pooling)
def test_a_pooled_network_predicts_from_everything_so_far(pooling):
    model, u = network("s4d", pooling=pooling), signal(3, 23)
    outputs, _ = in_chunks(model, u, [4, 1, 18])
    for y, seen in zip(outputs, (4, 5, 23), strict=True):
        assert error(y, model(u[:, :seen])) < 1e-10


@pytest.mark.parametrize("name", NAMES)
def test_gradients_flow_through_the_state_until_it_is_detached(name):
    model, u = network(name), signal(1, 12)
    whole = torch.autograd.grad(model(u).square().sum(), list(model.parameters()))
    (first, second), _ = in_chunks(model, u, 6)
    total = first.square().sum() + second.square().sum()
    found = torch.autograd.grad(total, list(model.parameters()))
    assert all(error(a, b) < 1e-8 for a, b in zip(found, whole, strict=True) if b.abs().max() > 0)
    before = u[:, :6].clone().requires_grad_()
    _, state = model.stream(before)
    y, _ = model.stream(u[:, 6:], state)
    (gradient,) = torch.autograd.grad(y.sum(), before, retain_graph=True)
    assert gradient.abs().max() > 0
    y, _ = model.stream(u[:, 6:], state.detach())
    assert torch.autograd.grad(y.sum(), before, allow_unused=True) == (None,)


def test_a_given_state_is_where_the_layers_start():
    model, u = network("l2ru", layers=1, nonlinearity="identity"), signal(1, 5)
    system = model.layers[0].system()
    x0 = torch.randn(1, system.heads, system.states, dtype=torch.float64)
    y, _ = model.stream(u, StreamState((x0,)))
    difference = y[0, 0] - model(u)[0, 0]
    block = model.blocks[0]
    expected = model.decoder.weight @ block.mix.weight @ (system.C[0] @ x0[0, 0])
    assert torch.allclose(difference, expected)


# --- refusals -------------------------------------------------------------------------------------


def test_a_bidirectional_network_is_refused_with_the_reason():
    with pytest.raises(UsageError, match="its first output depends on the last input"):
        network("s4d", bidirectional=True).stream(signal(1, 3))


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (StreamState(()), "one entry per layer: 2, got 0"),
        (StreamState((torch.zeros(5, 4, 3), None)), "must have the shape"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_in_one_line(state, says):
    with pytest.raises(UsageError, match=says) as caught:
        network("s4d").stream(signal(1, 3), state)
    assert "\n" not in str(caught.value)


def test_an_empty_chunk_is_refused():
    with pytest.raises(UsageError, match="at least one step"):
        network("s4d").stream(signal(1, 0))
