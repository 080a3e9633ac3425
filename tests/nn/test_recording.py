"""The inputs of layers, recorded."""

from __future__ import annotations

import torch

from ssmbench.lengths import reversed_time
from ssmbench.nn.freeze import freeze
from ssmbench.nn.recording import output_weights, record_inputs
from tests.runs.test_reducing import network


def test_whole_batches_are_recorded_until_there_are_enough_steps():
    _, run = network("framed")
    first, second = run.model.layers
    u = torch.rand(12, 64, 1)
    found = record_inputs(run.model, [(part, None) for part in u.split(3)], steps=5 * 16)
    assert found[first].u.shape == found[second].u.shape == (6, 16, 8)  # 4 samples a frame
    with torch.no_grad():
        block = run.model.blocks[0]
        assert torch.allclose(found[first].u, block.norm(run.model.encode(u[:6])), atol=1e-6)


def test_a_reversed_layer_reads_its_sequence_backwards_and_padding_is_left_out():
    _, run = network("both directions")
    forwards, backwards = run.model.layers[:2]
    u, lengths = torch.rand(2, 64, 1), torch.tensor([64, 20])
    shorter = (torch.rand(1, 32, 1), None)
    found = record_inputs(run.model, [(u, lengths), shorter], steps=100)
    one, other = found[forwards], found[backwards]
    assert one.lengths.tolist() == other.lengths.tolist() == [64, 20, 32]
    assert one.steps == 116
    inside = reversed_time(one.u, one.lengths)
    for i, length in enumerate(one.lengths):
        assert torch.allclose(other.u[i, :length], inside[i, :length])


def test_a_layer_that_is_used_twice_has_both_inputs():
    _, run = network("repeated")
    found = record_inputs(run.model, [(torch.rand(3, 64, 1), None)], steps=1)
    assert {inputs.u.shape[0] for inputs in found.values()} == {6}
    assert not run.model.layers[0]._forward_pre_hooks


def test_output_weights_are_those_of_the_exact_derivative():
    _, run = network("repeated")
    u = torch.rand(40, 64, 1)
    found = output_weights(run.model, [(part, None) for part in u.split(1)], steps=10**9)
    for layer in run.model.layers:
        exact = derivative_size(run.model, layer, u)
        assert torch.allclose(found[layer].double(), exact, rtol=0.3)


def derivative_size(model, layer, u):
    """By all outputs one after another, with all the layer's uses."""
    frozen = freeze(model)
    place, outputs = model.layers.index(layer), []

    def tap(layer, given, y):
        outputs.append(torch.zeros_like(y, requires_grad=True))
        return y + outputs[-1]

    hook = frozen.layers[place].register_forward_hook(tap)
    y = frozen(u)
    hook.remove()
    total = 0
    for k in range(y.shape[-1]):
        for gradient in torch.autograd.grad(y[:, k].sum(), outputs, retain_graph=True):
            total = total + gradient.double().square().sum((0, 1))
    heads = frozen.layers[place].system().heads
    steps = len(outputs) * outputs[0][..., 0].numel()
    return (total.unflatten(0, (heads, -1)).mean(-1) / steps).sqrt()
