"""The conformance kit's part for decoders: padding, streams, the declared Lipschitz constant."""

from __future__ import annotations

import torch
from torch import Tensor

from ssmbench.errors import UsageError
from ssmbench.nn.contracts import check_built
from ssmbench.nn.decoders.base import Decoder
from ssmbench.nn.pooling import Pooling
from ssmbench.spec import Channels, Pair, Reading, TaskSizes
from ssmbench.testing.modules import check_parameter_gradients, gradient_of
from ssmbench.testing.report import NotApplicable, Subject

_D_MODEL, _LENGTH, _ROWS, _OUTPUTS = 4, 12, 6, 3
_LENGTHS = torch.tensor([12, 1, 7, 6, 12, 3])
_GAIN = 0.7


def builds(subject: Subject) -> None:
    """It can be built for every way of pooling."""
    for pooling in Pooling:
        check_built(subject.entry, _built(subject, pooling), Decoder)


def shape_and_precision(subject: Subject) -> None:
    """Predictions have the shape that what it reads asks for, and the features' precision."""
    for dtype in (torch.float32, torch.float64):
        y = _built(subject, dtype=dtype)(_features(dtype))
        reads = subject.entry.factory.reads
        steps = (_LENGTH,) if reads is Reading.steps else ()
        number = _ROWS // 2 if reads is Reading.pair else _ROWS
        assert y.shape == (number, *steps, _OUTPUTS), f"a prediction of shape {tuple(y.shape)}"
        assert y.dtype == dtype, f"{y.dtype} for features in {dtype}"
        assert torch.isfinite(y).all(), "the prediction is not finite"


def every_gradient_is_finite(subject: Subject) -> None:
    """The prediction depends on the features and on every parameter, with finite gradients."""
    decoder, x = _built(subject), _features(torch.float32).requires_grad_()
    decoder(x).square().sum().backward()
    assert torch.isfinite(gradient_of(x)).all(), "the gradient of the features is not finite"
    check_parameter_gradients(decoder)


def padding_is_ignored(subject: Subject) -> None:
    """What is in the padding changes no prediction, and has the gradient zero."""
    for pooling in Pooling:
        decoder, x = _built(subject, pooling, torch.float64), _features(torch.float64)
        beyond = torch.arange(_LENGTH) >= _LENGTHS[:, None]
        other = torch.where(beyond[..., None], 100 * torch.randn_like(x), x).requires_grad_()
        y = decoder(other, _LENGTHS)
        assert torch.equal(y, decoder(x, _LENGTHS)), "the padding changes the prediction"
        (gradient,) = torch.autograd.grad(y.square().sum(), other)
        assert not gradient[beyond].any(), "the padding has a gradient"
        if subject.entry.factory.reads is Reading.steps:
            assert not y[beyond].any(), "predictions in the padding are not zero"


def padded_as_alone(subject: Subject) -> None:
    """A padded sequence has the prediction that it has alone."""
    if subject.entry.factory.reads is Reading.pair:
        raise NotApplicable("the two sequences of a pair are padded to one length")
    for pooling in Pooling:
        decoder, x = _built(subject, pooling, torch.float64), _features(torch.float64)
        padded = decoder(x, _LENGTHS)
        for row, length in enumerate(_LENGTHS.tolist()):
            alone = decoder(x[row : row + 1, :length])[0]
            found = padded[row, :length] if alone.ndim == 2 else padded[row]
            assert torch.allclose(found, alone, rtol=1e-9), "a padded sequence differs"


def streams_as_the_whole(subject: Subject) -> None:
    """Chunk by chunk it makes the predictions of the whole, if it can be streamed at all."""
    for pooling in Pooling:
        decoder, x = _built(subject, pooling, torch.float64), _features(torch.float64)
        try:
            first, carried = decoder.stream(x[:, :5], None, 5)
        except UsageError as reason:
            raise NotApplicable(str(reason)) from None
        second, _ = decoder.stream(x[:, 5:], carried, _LENGTH)
        per_step = subject.entry.factory.reads is Reading.steps
        found = torch.cat([first, second], 1) if per_step else second
        assert torch.allclose(found, decoder(x), rtol=1e-9), "a stream differs from the whole"


def gain_as_declared(subject: Subject) -> None:
    """No slope found exceeds the bound or a prescribed gain; without a bound there is a reason."""
    decoder = _built(subject, dtype=torch.float64)
    prescribed = [None, _GAIN] if decoder.takes_gain else [None]
    for gain in prescribed:
        bound = decoder.bound(_LENGTH) if gain is None else decoder.bound(_LENGTH, gain)
        if not bound.finite:
            assert bound.reason, "no Lipschitz constant, and no reason why"
            raise NotApplicable(f"declares none: {bound.reason}")
        slope = _slope(decoder, gain)
        assert slope <= bound.value * (1 + 1e-9), f"declares {bound.value}, but a slope of {slope}"
        kept = gain is None or bound.value <= gain * (1 + 1e-4)
        assert kept, f"a gain of {gain} is prescribed, and it has {bound.value}"


CHECKS = (
    builds,
    shape_and_precision,
    every_gradient_is_finite,
    padding_is_ignored,
    padded_as_alone,
    streams_as_the_whole,
    gain_as_declared,
)


def _slope(decoder: Decoder, gain: float | None) -> float:
    given = {} if gain is None else {"gain": gain}
    x = _features(torch.float64)
    step = 1e-3 * torch.randn_like(x)
    return ((decoder(x + step, **given) - decoder(x, **given)).norm() / step.norm()).item()


def _built(
    subject: Subject, pooling: Pooling = Pooling.mean, dtype: torch.dtype = torch.float32
) -> Decoder:
    reads = subject.entry.factory.reads
    one = Channels(2)
    input = Pair(one) if reads is Reading.pair else one
    sizes = TaskSizes(input, _OUTPUTS, _LENGTH, per_step=reads is Reading.steps)
    return subject.build(sizes=sizes, d_model=_D_MODEL, pooling=pooling).to(dtype)


def _features(dtype: torch.dtype) -> Tensor:
    return torch.randn(_ROWS, _LENGTH, _D_MODEL, dtype=dtype)
