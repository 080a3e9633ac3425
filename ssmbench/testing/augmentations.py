"""Conformance checks of augmentations: form, padding, and where their random numbers come from."""

from __future__ import annotations

import pickle

import torch

from ssmbench.augmentations.base import Augmentation, Signals, augmented
from ssmbench.nn.contracts import check_built
from ssmbench.spec import Channels, TaskSizes
from ssmbench.testing.report import Subject, skip_unless

_SIZES = TaskSizes(Channels(2), outputs=3, length=24, image=(4, 6))


def builds(subject: Subject) -> None:
    """It can be built, and derives from Augmentation."""
    check_built(subject.entry, _built(subject), Augmentation)


def keeps_the_form(subject: Subject) -> None:
    """Signals keep their shapes and dtypes and are finite; time steps stay positive, and lengths
    within the batch."""
    for signals in _examples(subject):
        made = augmented(_built(subject), signals)
        valid = made.valid
        assert torch.isfinite(made.u[valid]).all(), "u is not finite"
        if made.dt is not None:
            assert (made.dt[valid] > 0).all(), "a time step is not positive"
        if made.lengths is not None:
            inside = (made.lengths >= 1) & (made.lengths <= made.u.shape[1])
            assert inside.all(), f"lengths are outside 1..{made.u.shape[1]}"


def leaves_its_argument(subject: Subject) -> None:
    """The given signals are not modified."""
    for signals in _examples(subject):
        before = pickle.dumps(tuple(signals))
        _built(subject)(signals)
        assert pickle.dumps(tuple(signals)) == before, "it modifies the signals that it is given"


def follows_the_global_generator(subject: Subject) -> None:
    """From equal states of torch's generator it makes equal signals: a resumed run repeats them."""
    for signals in _examples(subject):
        first, second = (_seeded(_built(subject), signals) for _ in range(2))
        same = torch.equal(first.u, second.u)
        assert same, "it depends on more than torch's global generator and its signals"


def padding_has_no_influence(subject: Subject) -> None:
    """Values after the end of a sequence change no valid step."""
    skip_unless(not _built(subject).needs_image, "images have no padding")
    for signals in _examples(subject):
        if signals.lengths is None:
            continue
        filled = signals._replace(u=signals.u.masked_fill(~signals.valid[..., None], 100.0))
        first, second = (_seeded(_built(subject), one) for one in (signals, filled))
        same = torch.equal(first.u[first.valid], second.u[second.valid])
        assert same, "padding changes valid steps"


CHECKS = (
    builds,
    keeps_the_form,
    leaves_its_argument,
    follows_the_global_generator,
    padding_has_no_influence,
)


def _built(subject: Subject) -> Augmentation:
    return subject.build(sizes=_SIZES)


def _examples(subject: Subject) -> list[Signals]:
    """Signals of equal lengths; and, unless it changes images, padded ones with time steps."""
    u, dt = torch.randn(5, 24, 2), 0.5 + torch.rand(5, 24)
    whole = Signals(u)
    if _built(subject).needs_image:
        return [whole]
    padded = Signals(u, torch.tensor([24, 1, 2, 17, 9]), dt)
    inside = padded.valid
    return [whole, padded._replace(u=u * inside[..., None], dt=torch.where(inside, dt, 1.0))]


def _seeded(augmentation: Augmentation, signals: Signals) -> Signals:
    torch.manual_seed(7)
    return augmentation(signals)
