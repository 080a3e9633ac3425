"""Single sequences of any lengths made into one batch, padded at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ssmbench.tasks.batch import Batch


class Sample(NamedTuple):
    """One sequence: ``u`` (L, channels) or tokens (L,), for a pair a tuple of two; ``target`` of
    any shape, or (L, ...) per step; ``dt`` (L,) or None, for a pair a tuple of two or None.

    Tensors, or anything that numpy converts to arrays. Real numbers become float32, integers int64.
    """

    u: Any
    target: Any
    dt: Any = None


def collate(samples: Sequence[Sample], *, per_step: bool = False, padding: int = 0) -> Batch:
    """One batch of samples of any lengths, padded at the end to the longest."""
    paired = isinstance(samples[0].u, tuple)
    u, lengths = padded([tensor_of(part) for s in samples for part in _parts(s.u)], padding)
    targets = [tensor_of(s.target) for s in samples]
    target = padded(targets, 0)[0] if per_step else torch.stack(targets)
    dt = None
    if samples[0].dt is not None:
        dt = padded([tensor_of(part) for s in samples for part in _parts(s.dt)], 1)[0]
    if not paired:
        return Batch(u, target, lengths, dt)
    u, lengths = u.unflatten(0, (-1, 2)), lengths.unflatten(0, (-1, 2))
    return Batch(u, target, lengths, None if dt is None else dt.unflatten(0, (-1, 2)))


def padded(
    rows: Sequence[Shaped[Tensor, "_ ..."]], filling: int
) -> tuple[Shaped[Tensor, "n L *rest"], Int[Tensor, " n"]]:
    """Rows of different lengths in one tensor, padded with ``filling``, and their lengths."""
    lengths = torch.tensor([len(row) for row in rows])
    return pad_sequence(list(rows), batch_first=True, padding_value=filling), lengths


def stacked(parts: Sequence[Any], filling: int) -> Shaped[Tensor, "n L *rest"]:
    """Arrays of different lengths in one tensor, with ``filling`` at the end of shorter ones."""
    longest = max(len(part) for part in parts)
    rows = np.full((len(parts), longest, *parts[0].shape[1:]), filling, parts[0].dtype)
    for row, part in zip(rows, parts, strict=True):
        row[: len(part)] = part
    return tensor_of(rows)


def interleaved(lists: Sequence[list[Any]]) -> list[Any]:
    """The first of each list, the second of each, and so on."""
    return [part for together in zip(*lists, strict=True) for part in together]


def tensor_of(values: Any) -> Tensor:
    """A tensor that shares no memory with ``values``: real numbers float32, integers int64."""
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
    return tensor.to(torch.float32 if tensor.is_floating_point() else torch.int64)


def array_of(values: Any) -> np.ndarray:
    """An array, also one in a file, as it is; a list or tensor as an array."""
    return values if isinstance(values, np.ndarray) else np.asarray(values)


def _parts(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
