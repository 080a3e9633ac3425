"""Conformance checks of blocks: shape, causality, chunks, padding, and the stated bound."""

from __future__ import annotations

import torch
from torch import Tensor

from ssmbench.build.network import block_parts
from ssmbench.config import RunConfig, resolve_model
from ssmbench.nn.blocks.base import Block
from ssmbench.nn.bounds import is_finite
from ssmbench.nn.contracts import check_block, check_built
from ssmbench.nn.layer import SSMLayer
from ssmbench.testing.modules import check_parameter_gradients, gradient_of
from ssmbench.testing.report import NotApplicable, Subject, skip_unless

WIDTH, LENGTH = 4, 11


def _built(subject: Subject, dtype: torch.dtype = torch.float64, **model: object) -> Block:
    """The block with a contraction of gain 2 as its SSM layer, or what ``model`` says."""
    given = {"parametrization": {"name": "contraction", "gamma": 2.0}, "d_model": WIDTH} | model
    parts = block_parts(RunConfig(model=resolve_model(given, "conformance")))
    return subject.build(d_model=WIDTH, parts=parts).to(dtype).eval()


def _equal(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, rtol=1e-9, atol=1e-11)


def _signal(dtype: torch.dtype = torch.float64, steps: int = LENGTH) -> Tensor:
    return torch.randn(3, steps, WIDTH, dtype=dtype)


def builds(subject: Subject) -> None:
    """It can be built, with finite parameters of torch's default dtype, around SSM layers that it
    lists."""
    block = _built(subject, torch.float32)
    check_built(subject.entry, block, Block)
    inside = [module for module in block.modules() if isinstance(module, SSMLayer)]
    assert set(map(id, block.layers)) == set(map(id, inside)), "layers does not list its SSM layers"
    assert inside, "it has no SSM layer"
    assert block.reverse_layer is None, "it has a reverse layer in a network of one direction"


def keeps_shape_and_precision(subject: Subject) -> None:
    """The output has the shape and the dtype of the input."""
    for dtype in (torch.float32, torch.float64):
        block, x = _built(subject, dtype), _signal(dtype)
        y = block(x)
        check_block(block, x, y)
        assert y.dtype == dtype, f"the output is {y.dtype} for an input in {dtype}"


def every_gradient_is_finite(subject: Subject) -> None:
    """The output depends on the input and on every parameter, with finite gradients."""
    block, x = _built(subject).train(), _signal().requires_grad_()
    block(x).pow(3).sum().backward()
    assert torch.isfinite(gradient_of(x)).all(), "the gradient of the input is not finite"
    check_parameter_gradients(block)


def later_steps_have_no_influence(subject: Subject) -> None:
    """An output depends on inputs up to its step only, so that it can be streamed."""
    block, x = _built(subject), _signal()
    changed = torch.cat([x[:, :6], 100 * _signal(steps=LENGTH - 6)], 1)
    same = _equal(block(x)[:, :6], block(changed)[:, :6])
    assert same, "an output depends on later inputs"


def sequences_are_independent(subject: Subject) -> None:
    """In evaluation, the output for a sequence does not depend on the others of the batch."""
    block, x = _built(subject), _signal()
    alone = torch.cat([block(row[None]) for row in x])
    assert _equal(block(x), alone), "sequences of a batch influence each other"


def padding_has_no_influence(subject: Subject) -> None:
    """Values after the end of a sequence change no valid output."""
    block, x, lengths = _built(subject), _signal(), torch.tensor([LENGTH, 2, 5])
    valid = torch.arange(LENGTH) < lengths[:, None]
    filled = torch.where(valid[..., None], x, 100.0)
    before, after = block(x, lengths)[valid], block(filled, lengths)[valid]
    assert _equal(before, after), "padding changes valid outputs"


def takes_an_empty_batch(subject: Subject) -> None:
    """A batch without sequences has an empty output."""
    found = _built(subject)(torch.zeros(0, LENGTH, WIDTH, dtype=torch.float64)).shape
    assert found == (0, LENGTH, WIDTH), "the output of no sequences has some"


def chunks_give_the_whole(subject: Subject) -> None:
    """A signal in chunks, single steps included, has the outputs and the last state of the whole,
    and a state without a graph can be had."""
    block, x = _built(subject), _signal()
    whole, _ = block.stream(x, None)
    assert _equal(whole, block(x)), "a stream differs from the whole signal"
    state, rows = None, []
    for chunk in x.split((1, 1, 2, 5, 1, 1), 1):
        y, state = block.stream(chunk, state)
        state = state.detach()
        rows.append(y)
    same = _equal(torch.cat(rows, 1), whole)
    assert same, "chunks of a signal have other outputs than the whole"


def both_directions(subject: Subject) -> None:
    """With a second layer in reversed time, outputs depend on later inputs; or a reason is given
    why there is none."""
    reason = getattr(subject.entry.factory, "one_direction_reason", "")
    skip_unless(not reason, f"has one direction only: {reason}")
    block, x = _built(subject, bidirectional=True), _signal().requires_grad_()
    assert block.reverse_layer is not None, "takes no reverse layer and gives no reason"
    assert any(block.reverse_layer is layer for layer in block.layers), "layers leaves it out"
    block(x)[:, 0].sum().backward()
    assert gradient_of(x)[:, -1].abs().sum() > 0, "the first output does not see the last input"


def gain_stays_below_the_bound(subject: Subject) -> None:
    """Random differences are not amplified beyond the bound that follows from the gain of its
    layers; where there is none, a reason is given."""
    block = _built(subject)
    gain = block.declared_gain()
    assert gain is not None, "its layers declare a gain, but the block does not"
    bound = block.bound(gain)
    if not bound.finite:
        assert bound.reason, "has no bound and gives no reason"
        raise NotApplicable(f"has no bound: {bound.reason}")
    for size in (1e-3, 1.0, 100.0):
        x, d = _signal(), size * _signal()
        found = (torch.linalg.vector_norm(block(x + d) - block(x)) / d.norm()).item()
        assert found <= bound.value * (1 + 1e-9), f"states {bound.value}, but amplifies by {found}"


def zero_state_gain_stays_below_the_bound(subject: Subject) -> None:
    """From the zero state, no random signal is amplified beyond the zero-state bound that follows
    from the gain of its layers; where there is none, a reason is given."""
    block = _built(subject, mix=False)
    gain = block.declared_gain()
    assert gain is not None, "its layers declare a gain, but the block does not"
    bound = block.zero_state_bound(gain)
    if not bound.finite:
        assert bound.reason, "has no zero-state bound and gives no reason"
        raise NotApplicable(f"has no zero-state bound: {bound.reason}")
    for size in (1e-3, 1.0, 100.0):
        x = size * _signal()
        found = (torch.linalg.vector_norm(block(x)) / x.norm()).item()
        assert found <= bound.value * (1 + 1e-9), (
            f"states a zero-state gain of {bound.value}, but amplifies by {found}"
        )


def has_no_bound_without_one_of_its_layers(subject: Subject) -> None:
    """Where no gain of a layer is known there is no bound, and a reason."""
    block = _built(subject)
    assert is_finite(block), "a parameter is not finite"
    for bound in (block.bound(None), block.zero_state_bound(None)):
        assert not bound.finite, "states a bound although the gain of its layers is not known"
        assert bound.reason, "has no bound and gives no reason"


CHECKS = (
    builds,
    keeps_shape_and_precision,
    every_gradient_is_finite,
    later_steps_have_no_influence,
    sequences_are_independent,
    padding_has_no_influence,
    takes_an_empty_batch,
    chunks_give_the_whole,
    both_directions,
    gain_stays_below_the_bound,
    zero_state_gain_stays_below_the_bound,
    has_no_bound_without_one_of_its_layers,
)
