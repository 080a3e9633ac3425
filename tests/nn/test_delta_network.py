"""Networks of delta rules: streams, padding, initial states, tracing, and refused readouts."""

from __future__ import annotations

import pytest
import torch

from ssmbench.errors import UsageError
from ssmbench.nn.states import largest_states
from ssmbench.nn.stream import BlockState
from tests.nn.test_certified_block import LENGTH, WIDTH, network, tokens

DELTA = {"name": "contraction_delta", "d_state": 5}


def test_a_stream_in_pieces_is_the_whole():
    block = network(DELTA).blocks[0]
    x = torch.randn(3, LENGTH, WIDTH)
    state: BlockState | None = None
    outputs = []
    with torch.no_grad():
        for piece in x.split([1, 2, 5, 4], 1):
            y, state = block.stream(piece, state)
            outputs.append(y)
        torch.testing.assert_close(torch.cat(outputs, 1), block(x))


def test_padding_changes_nothing_before_it():
    model, u = network(DELTA), tokens()
    with torch.no_grad():
        whole = model(u[:, :7], torch.full((3,), 7))
        padded = model(u, torch.full((3,), 7))
    torch.testing.assert_close(padded[:, :7], whole)


def test_a_learned_initial_state_is_trained():
    model = network(DELTA, initial_state="learned", gamma=None)
    model(tokens()).square().sum().backward()
    for layer in model.layers:
        assert tuple(layer.x0.shape) == (WIDTH // 2, 5)
        assert bool((layer.x0.grad != 0).any())


def test_the_largest_state_is_measured():
    norms = largest_states(network(DELTA), tokens())
    assert norms.shape == (2,)
    assert bool((norms > 0).all())


def test_a_readout_after_the_input_is_refused():
    with pytest.raises(UsageError, match="a delta rule reads between writing and erasing"):
        network(DELTA, readout="after", gamma=None)


def test_every_parameter_is_trained():
    model = network(DELTA).train()
    model(tokens()).square().sum().backward()
    for name, parameter in model.blocks.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name


def test_tracing_gives_the_same():
    """By fake kernels: no value is asked for."""
    layer = network(DELTA).layers[0].eval()
    u, selection = torch.randn(2, 5, WIDTH // 2), torch.randn(2, 5, WIDTH)
    with torch.no_grad():
        expected = layer(u, None, selection)
        exported = torch.export.export(layer, (u, None, selection)).module()
        torch.testing.assert_close(exported(u, None, selection), expected)
