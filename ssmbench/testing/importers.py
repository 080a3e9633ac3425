"""Conformance checks of importers: the example is a network, and what is wrong is named."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor

from ssmbench.build.network import build_network
from ssmbench.config import resolve, typed
from ssmbench.errors import UsageError
from ssmbench.importers.base import Imported, convert
from ssmbench.importers.files import checkpoint_of
from ssmbench.importers.weights import Weights
from ssmbench.nn.model import SequenceModel
from ssmbench.spec import Channels, TaskSizes
from ssmbench.testing.report import Subject

_SOURCE = "example"
_LENGTH = 5


def builds(subject: Subject) -> None:
    """It can be built from its options."""
    subject.build()


def understands_its_example(subject: Subject) -> None:
    """The example is read with no key left over."""
    _read(subject, _example(subject))


def network_takes_every_parameter(subject: Subject) -> None:
    """The config gives a network whose parameters are exactly those of the state; its predictions
    are finite and of the stated shape."""
    found = _read(subject, _example(subject))
    network = _network(found)
    steps = (_LENGTH,) if found.per_step else ()
    u = _input(found)
    with torch.no_grad():
        y = network(u)
    wanted = (len(u), *steps, found.outputs)
    assert tuple(y.shape) == wanted, f"predictions of shape {tuple(y.shape)}, not {wanted}"
    assert bool(torch.isfinite(y).all()), "predictions that are not finite"


def mark_is_that_of_its_example(subject: Subject) -> None:
    """A key of the example matches ``mark``."""
    mark = subject.build().mark
    found = any(re.fullmatch(mark, key) for key in _example(subject))
    assert found, f"no key of the example matches mark {mark!r}"


def an_unknown_key_is_named(subject: Subject) -> None:
    """A key that the layout does not have is refused, and named."""
    arrays = _example(subject)
    unknown = "nowhere.nothing"
    message = _refusal(subject, arrays | {unknown: torch.zeros(3, dtype=torch.float64)})
    assert unknown in message, f"a checkpoint with the key {unknown!r}: {message}"


def a_wrong_shape_is_named(subject: Subject) -> None:
    """An array with one more dimension is refused, and the message has its key or names its
    place."""
    arrays = _example(subject)
    for name in arrays:
        deeper = arrays[name][None].expand(7, *arrays[name].shape)
        message = _refusal(subject, arrays | {name: deeper})
        assert message, f"{name} in a wrong shape is accepted"


def _example(subject: Subject) -> dict[str, Tensor]:
    example = subject.build().example()
    assert all(isinstance(value, np.ndarray) for value in example.values()), "not NumPy arrays"
    return checkpoint_of(example, _SOURCE)


def _read(subject: Subject, arrays: dict[str, Tensor]) -> Imported:
    return convert(subject.build(), Weights(arrays, _SOURCE), subject.entry.name)


def _network(found: Imported) -> SequenceModel:
    run = typed(resolve({"model": dict(found.model)}))
    sizes = TaskSizes(found.input, found.outputs, _LENGTH, found.per_step)
    network = build_network(run, sizes).double().eval()
    network.load_state_dict(dict(found.state))
    return network


def _input(found: Imported) -> Tensor:
    if isinstance(found.input, Channels):
        return torch.randn(2, _LENGTH, found.input.count, dtype=torch.float64)
    return torch.randint(found.input.vocabulary, (2, _LENGTH))


def _refusal(subject: Subject, arrays: dict[str, Tensor]) -> str:
    """The sentence with which a checkpoint is refused, by the importer or by its network; "" if it
    is not."""
    try:
        _network(_read(subject, arrays))
    except (UsageError, RuntimeError) as error:
        return str(error)
    return ""


CHECKS = (
    builds,
    understands_its_example,
    network_takes_every_parameter,
    mark_is_that_of_its_example,
    an_unknown_key_is_named,
    a_wrong_shape_is_named,
)
