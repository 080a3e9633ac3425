"""Conformance checks of encoders: gradients, chunks and the declared Lipschitz constant."""

from __future__ import annotations

import torch
from torch import Tensor

from ssmbench.nn.contracts import check_built
from ssmbench.nn.encoders.base import Encoder
from ssmbench.spec import Channels, SequenceSpec, Tokens
from ssmbench.testing.modules import check_parameter_gradients, randomise
from ssmbench.testing.report import NotApplicable, Subject, skip_unless
from ssmbench.testing.shifted import check_shifted

_D_MODEL, _LENGTH = 4, 12
_EXAMPLES = {Channels: Channels(3), Tokens: Tokens(7)}


def builds(subject: Subject) -> None:
    """It can be built for every input that it accepts."""
    for spec in _accepted(subject):
        check_built(subject.entry, _build(subject, spec), Encoder)


def shape_and_precision(subject: Subject) -> None:
    """Features have shape (B, L, d_model) and the dtype of the parameters, and are finite."""
    for spec in _accepted(subject):
        for dtype in (torch.float32, torch.float64):
            x = _build(subject, spec, dtype)(_input(spec, dtype))
            assert x.shape == (3, _LENGTH, _D_MODEL), f"the features have shape {tuple(x.shape)}"
            assert x.dtype == dtype, f"the features are {x.dtype} for parameters in {dtype}"
            assert torch.isfinite(x).all(), "features are not finite"


def every_gradient_is_finite(subject: Subject) -> None:
    """The features depend on every parameter, with finite gradients."""
    for spec in _accepted(subject):
        encoder = _build(subject, spec)
        encoder(_input(spec, torch.float32)).square().sum().backward()
        check_parameter_gradients(encoder)


def chunks_agree(subject: Subject) -> None:
    """Features of chunks, each encoded with its offset, agree with those of the whole sequence."""
    for spec in _accepted(subject):
        encoder = _build(subject, spec, torch.float64)
        u = _input(spec, torch.float64)
        parts = [encoder(u[:, :5]), encoder(u[:, 5:6], 5), encoder(u[:, 6:], 6)]
        same = torch.allclose(torch.cat(parts, 1), encoder(u), rtol=1e-12)
        assert same, "the features of chunks differ from those of the whole sequence"


def lipschitz_constant_as_declared(subject: Subject) -> None:
    """A difference quotient does not exceed the declared bound; where there is no bound, the reason
    is given.
    """
    skip_unless(Channels in subject.entry.factory.accepts, "its input is not real-valued")
    spec = _EXAMPLES[Channels]
    encoder = _build(subject, spec, torch.float64)
    bound = encoder.bound()
    if not bound.finite:
        assert bound.reason, "declares no Lipschitz constant and gives no reason"
        raise NotApplicable(f"declares no Lipschitz constant: {bound.reason}")
    u = _input(spec, torch.float64)
    step = 1e-3 * torch.randn_like(u)
    slope = ((encoder(u + step) - encoder(u)).norm() / step.norm()).item()
    assert slope <= bound.value * (1 + 1e-9), f"declares {bound.value}, but has a slope of {slope}"
    form = encoder.shifted(u.shape[-1], encoder(u).shape[-1])
    assert form is not None, "has a bound, but no shifted form"
    check_shifted(form, step.flatten(0, 1), (encoder(u + step) - encoder(u)).flatten(0, 1))
    declared = type(encoder).lipschitz
    within = declared is None or bound.value <= declared * (1 + 1e-4)
    assert within, f"declares {declared} for all parameter values, but now has {bound.value}"


def maps_zero_to_zero_as_declared(subject: Subject) -> None:
    """Where it is declared that zero is mapped to zero, it is for random parameters; tried with
    each option that is true or false, as a bias.
    """
    skip_unless(Channels in subject.entry.factory.accepts, "its input is not real-valued")
    built = [_build(one, _EXAMPLES[Channels]) for one in subject.with_each_flag()]
    declaring = [encoder for encoder in built if encoder.maps_zero_to_zero]
    skip_unless(bool(declaring), "does not declare that zero is mapped to zero")
    zero = torch.zeros_like(_input(_EXAMPLES[Channels], torch.float32))
    for encoder in declaring:
        randomise(encoder, 1.0)
        for start in (0, 5):
            assert not encoder(zero, start).any(), "does not map zero to zero, as it declares"


CHECKS = (
    builds,
    shape_and_precision,
    every_gradient_is_finite,
    chunks_agree,
    lipschitz_constant_as_declared,
    maps_zero_to_zero_as_declared,
)


def _accepted(subject: Subject) -> list[SequenceSpec]:
    accepts = subject.entry.factory.accepts
    assert accepts, "``accepts`` is empty: no input can be encoded"
    return [_EXAMPLES[kind] for kind in accepts]


def _build(subject: Subject, spec: SequenceSpec, dtype: torch.dtype = torch.float32) -> Encoder:
    return subject.build(input=spec, length=_LENGTH, d_model=_D_MODEL).to(dtype)


def _input(spec: SequenceSpec, dtype: torch.dtype) -> Tensor:
    if isinstance(spec, Tokens):
        return torch.arange(3 * _LENGTH).reshape(3, _LENGTH) % spec.vocabulary
    return torch.randn(3, _LENGTH, spec.count, dtype=dtype)
