"""Conformance checks of decoders: padding, streaming and the declared Lipschitz constant."""

from __future__ import annotations

import torch
from torch import Tensor

from ssmbench.errors import UsageError
from ssmbench.nn.contracts import check_built
from ssmbench.nn.decoders.base import Decoder
from ssmbench.nn.pooling import Pooling
from ssmbench.spec import Channels, Pair, Reading, TaskSizes
from ssmbench.testing.modules import check_parameter_gradients, gradient_of, randomise
from ssmbench.testing.report import NotApplicable, Subject, skip_unless

_D_MODEL, _LENGTH, _ROWS, _OUTPUTS = 4, 12, 6, 3
_LENGTHS = torch.tensor([12, 1, 7, 6, 12, 3])
_GAIN = 0.7


def builds(subject: Subject) -> None:
    """It can be built for every way of pooling."""
    for pooling in Pooling:
        check_built(subject.entry, _build(subject, pooling), Decoder)


def shape_and_precision(subject: Subject) -> None:
    """Predictions have the shape that ``reads`` implies and the dtype of the features."""
    for dtype in (torch.float32, torch.float64):
        y = _build(subject, dtype=dtype)(_features(dtype))
        reads = subject.entry.factory.reads
        steps = (_LENGTH,) if reads is Reading.steps else ()
        size = _ROWS // 2 if reads is Reading.pair else _ROWS
        assert y.shape == (size, *steps, _OUTPUTS), f"the prediction has shape {tuple(y.shape)}"
        assert y.dtype == dtype, f"the prediction is {y.dtype} for features in {dtype}"
        assert torch.isfinite(y).all(), "the prediction is not finite"


def every_gradient_is_finite(subject: Subject) -> None:
    """The prediction depends on the features and on every parameter, with finite gradients."""
    decoder, x = _build(subject), _features(torch.float32).requires_grad_()
    decoder(x).square().sum().backward()
    assert torch.isfinite(gradient_of(x)).all(), "the gradient of the features is not finite"
    check_parameter_gradients(decoder)


def padding_is_ignored(subject: Subject) -> None:
    """Values in the padding do not change the prediction, and their gradient is zero."""
    for pooling in Pooling:
        decoder, x = _build(subject, pooling, torch.float64), _features(torch.float64)
        beyond = torch.arange(_LENGTH) >= _LENGTHS[:, None]
        changed = torch.where(beyond[..., None], 100 * torch.randn_like(x), x).requires_grad_()
        y = decoder(changed, _LENGTHS)
        assert torch.equal(y, decoder(x, _LENGTHS)), "the padding changes the prediction"
        (gradient,) = torch.autograd.grad(y.square().sum(), changed)
        assert not gradient[beyond].any(), "the gradient in the padding is not zero"
        if subject.entry.factory.reads is Reading.steps:
            assert not y[beyond].any(), "predictions in the padding are not zero"


def padded_and_unpadded_agree(subject: Subject) -> None:
    """The prediction for a padded sequence is the same as without padding."""
    is_pair = subject.entry.factory.reads is Reading.pair
    skip_unless(not is_pair, "the two sequences of a pair are padded to the same length")
    for pooling in Pooling:
        decoder, x = _build(subject, pooling, torch.float64), _features(torch.float64)
        padded = decoder(x, _LENGTHS)
        for row, length in enumerate(_LENGTHS.tolist()):
            alone = decoder(x[row : row + 1, :length])[0]
            found = padded[row, :length] if alone.ndim == 2 else padded[row]
            same = torch.allclose(found, alone, rtol=1e-9)
            assert same, "the prediction for a padded sequence differs from that without padding"


def streaming_agrees(subject: Subject) -> None:
    """If the decoder can be streamed, its predictions from chunks agree with those from the whole
    sequence.
    """
    for pooling in Pooling:
        decoder, x = _build(subject, pooling, torch.float64), _features(torch.float64)
        try:
            first, carried = decoder.stream(x[:, :5], None, 5)
        except UsageError as reason:
            raise NotApplicable(str(reason)) from None
        second, _ = decoder.stream(x[:, 5:], carried, _LENGTH)
        per_step = subject.entry.factory.reads is Reading.steps
        found = torch.cat([first, second], 1) if per_step else second
        same = torch.allclose(found, decoder(x), rtol=1e-9)
        assert same, "the prediction from chunks differs from that for the whole sequence"


def gain_as_declared(subject: Subject) -> None:
    """A difference quotient does not exceed the declared bound, and the bound does not exceed a
    prescribed gain; where there is no bound, the reason is given.
    """
    decoder = _build(subject, dtype=torch.float64)
    prescribed = [None, _GAIN] if decoder.takes_gain else [None]
    for gain in prescribed:
        bound = decoder.bound(_LENGTH) if gain is None else decoder.bound(_LENGTH, gain)
        if not bound.finite:
            assert bound.reason, "declares no Lipschitz constant and gives no reason"
            raise NotApplicable(f"declares no Lipschitz constant: {bound.reason}")
        slope = _slope(decoder, gain)
        below = slope <= bound.value * (1 + 1e-9)
        assert below, f"declares {bound.value}, but has a slope of {slope}"
        within = gain is None or bound.value <= gain * (1 + 1e-4)
        assert within, f"the prescribed gain is {gain}, but the declared bound is {bound.value}"


def maps_zero_to_zero_as_declared(subject: Subject) -> None:
    """Where it is declared that zero is mapped to zero, it is for random parameters, with and
    without padding and a prescribed gain; tried with each option that is true or false, as a bias.
    """
    every = [(one, pooling) for one in subject.with_each_flag() for pooling in Pooling]
    built = [_build(one, pooling) for one, pooling in every]
    declaring = [decoder for decoder in built if decoder.maps_zero_to_zero]
    skip_unless(bool(declaring), "does not declare that zero is mapped to zero")
    zero = torch.zeros_like(_features(torch.float32))
    for decoder in declaring:
        randomise(decoder, 1.0)
        for gain in (None, _GAIN) if decoder.takes_gain else (None,):
            options = {} if gain is None else {"gain": gain}
            for lengths in (None, _LENGTHS):
                y = decoder(zero, lengths, **options)
                assert not y.any(), "does not map zero to zero, as it declares"


CHECKS = (
    builds,
    shape_and_precision,
    every_gradient_is_finite,
    padding_is_ignored,
    padded_and_unpadded_agree,
    streaming_agrees,
    gain_as_declared,
    maps_zero_to_zero_as_declared,
)


def _slope(decoder: Decoder, gain: float | None) -> float:
    """A difference quotient of the decoder at random features, in a random direction."""
    options = {} if gain is None else {"gain": gain}
    x = _features(torch.float64)
    step = 1e-3 * torch.randn_like(x)
    return ((decoder(x + step, **options) - decoder(x, **options)).norm() / step.norm()).item()


def _build(
    subject: Subject, pooling: Pooling = Pooling.mean, dtype: torch.dtype = torch.float32
) -> Decoder:
    reads = subject.entry.factory.reads
    channels = Channels(2)
    input = Pair(channels) if reads is Reading.pair else channels
    sizes = TaskSizes(input, _OUTPUTS, _LENGTH, per_step=reads is Reading.steps)
    return subject.build(sizes=sizes, d_model=_D_MODEL, pooling=pooling).to(dtype)


def _features(dtype: torch.dtype) -> Tensor:
    return torch.randn(_ROWS, _LENGTH, _D_MODEL, dtype=dtype)
