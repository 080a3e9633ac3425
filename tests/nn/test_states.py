"""The largest norm of a layer's state, against the states after every prefix of its input."""

from __future__ import annotations

import pytest
import torch

from ssmbench.nn.states import largest_states
from ssmbench.systems import DiscreteDiagonal, TimeVaryingDiagonal
from tests.nn.networks import NAMES, network, signal


def states(layer, u, dt, lengths):
    """Norms of the states before each valid step, (B, L), from runs of prefixes."""
    system = layer.system_for(u, dt)
    modal = isinstance(system, DiscreteDiagonal | TimeVaryingDiagonal) and system.conjugate
    norms = torch.zeros(u.shape[:2], dtype=torch.float64)
    for k in range(1, u.shape[1]):
        part = None if dt is None else dt[:, :k]
        norms[:, k] = layer.run(u[:, :k], dt=part)[1].flatten(1).norm(dim=1)
    valid = torch.arange(u.shape[1]) < lengths[:, None]
    return (2 if modal else 1) * norms * valid


@pytest.mark.parametrize("name", NAMES)
def test_every_state_counts_and_none_in_the_padding(name, monkeypatch):
    monkeypatch.setattr("ssmbench.nn.states._PART", 100)  # several parts
    model, u, lengths = network(name), signal(3, 9), torch.tensor([9, 1, 4])
    with torch.no_grad():
        x, wanted = model.encode(u, lengths), []
        for block in model.blocks:
            v = block.normalise_at(block.norm_position, x, lengths)
            wanted.append(states(block.layer, v, None, lengths).max())
            x = block(x, lengths)
    found = largest_states(model, u, lengths, None)
    torch.testing.assert_close(found, torch.stack(wanted), rtol=1e-8, atol=1e-10)


def test_time_steps_and_both_directions():
    model, u = network("s4d"), signal(2, 7)
    steps = torch.full((2, 7), 3.0, dtype=torch.float64)
    layer, x = model.layers[0], model.encode(u)
    wanted = states(layer, x, steps, torch.tensor([7, 7])).max()
    torch.testing.assert_close(largest_states(model, u, None, steps)[0], wanted)
    both = network("s4d", bidirectional=True, layers=1)
    forward, backward = largest_states(both, u)
    x = both.encode(u)
    ends = torch.tensor([7, 7])
    torch.testing.assert_close(forward, states(both.layers[0], x, None, ends).max())
    torch.testing.assert_close(backward, states(both.layers[1], x.flip(1), None, ends).max())
