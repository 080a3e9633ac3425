"""The data of a split: in memory, in a memory-mapped file, or generated on demand.

All classes give batches (:class:`~ssmbench.tasks.batch.Batch`); sequences of different lengths are
padded by :mod:`ssmbench.tasks.collation`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.utils.data import Dataset

from ssmbench.errors import require
from ssmbench.tasks.batch import Batch
from ssmbench.tasks.collation import Sample, array_of, collate, interleaved, stacked, tensor_of


class SequenceData(Dataset[Batch], ABC):
    """Sequences with their targets, read as batches."""

    @abstractmethod
    def __len__(self) -> int:
        """The number of sequences, or of pairs."""

    @abstractmethod
    def batch(self, indices: Sequence[int]) -> Batch:
        """The sequences of these indices, in this order; the same in every call."""

    def to_check(self) -> Batch:
        """What is checked once after loading: the first sequence, or all that is in memory."""
        return self.batch([0])

    @property
    def lengths(self) -> Int[np.ndarray, " n"] | None:
        """Steps of each sequence, or of a pair's longer one; None if equal or unknown."""
        return None


class Sequences(SequenceData):
    """Sequences of one length, in memory.

    ``u`` (n, L, channels) float32 or (n, L) int64 tokens, or pairs as in :class:`Batch`;
    ``target`` (n, ...); ``dt`` (n, L) float32 for non-uniform sampling.
    """

    def __init__(
        self,
        u: Shaped[Tensor, "n ..."],
        target: Shaped[Tensor, "n ..."],
        dt: Float[Tensor, "n ..."] | None = None,
    ):
        require(len(u) == len(target), f"{len(u)} sequences have {len(target)} targets")
        self.u, self.target, self.dt = u, target, dt

    def __len__(self) -> int:
        return len(self.u)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Index each tensor once."""
        chosen = torch.as_tensor(indices)
        dt = None if self.dt is None else self.dt[chosen]
        return Batch(self.u[chosen], self.target[chosen], dt=dt)

    def to_check(self) -> Batch:
        """All of them, without copying."""
        return Batch(self.u, self.target, dt=self.dt)


class WindowedSequences(SequenceData):
    """Windows of one long record, which is not copied: ``series`` (T, ...), the first row of each
    window in ``starts``, and their ``length``."""

    def __init__(self, series: Shaped[Tensor, "T ..."], starts: Sequence[int], length: int):
        self.series, self.length = series, length
        self.starts = torch.as_tensor(starts, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.starts)

    def batch(self, indices: Sequence[int]) -> Batch:
        """By one indexing of the record."""
        first = self.starts[torch.as_tensor(indices)]
        return self.of_windows(self.series[first[:, None] + torch.arange(self.length)])

    @abstractmethod
    def of_windows(self, windows: Shaped[Tensor, "B L ..."]) -> Batch:
        """The sequences and targets of some windows."""


class Samples(SequenceData):
    """Sequences read one by one and padded to the longest of a batch, with their lengths.

    ``per_step``: targets are (L, ...), and padded too. ``padding``: the token that fills shorter
    sequences of tokens; signals and targets are filled with 0, and dt with 1.
    """

    per_step: bool = False
    padding: int = 0

    @abstractmethod
    def sample(self, index: int) -> Sample:
        """The sequence of this index; the same in every call."""

    def batch(self, indices: Sequence[int]) -> Batch:
        samples = [self.sample(int(index)) for index in indices]
        return collate(samples, per_step=self.per_step, padding=self.padding)


class PaddedSequences(Samples):
    """Sequences of different lengths, stored one after another in one array.

    ``values`` (total, channels) or (total,): an array in memory or a ``numpy.memmap``, of which
    only the sequences of a batch are read. ``offsets`` (n + 1,): the first row of each sequence,
    and the end of the last. ``target`` (n, ...), or with ``per_step`` (total, ...), a row for each
    of ``values``. ``dt`` (total,).
    """

    def __init__(
        self,
        values: Any,
        offsets: Any,
        target: Any,
        dt: Any = None,
        *,
        per_step: bool = False,
        padding: int = 0,
    ):
        self.values, self.target = array_of(values), array_of(target)
        self.dt = None if dt is None else array_of(dt)
        self.offsets = np.asarray(offsets)
        self.per_step, self.padding = per_step, padding
        rows, ends = len(values), self.offsets
        require(
            len(ends) > 0 and ends[0] >= 0 and ends[-1] <= rows and bool((np.diff(ends) > 0).all()),
            f"PaddedSequences: offsets must increase from 0 to the {rows} steps of values",
        )
        expected = rows if per_step else len(self)
        require(len(target) == expected, f"PaddedSequences: {len(target)} targets, not {expected}")

    @classmethod
    def of(cls, sequences: Sequence[Any], target: Any, **options: Any) -> PaddedSequences:
        """From a list of (L_k, channels) or (L_k,) arrays; see the class for ``options``.

        With ``per_step``, ``target`` is a list of such arrays too; ``dt`` is one if given.
        """
        offsets = np.cumsum([0, *map(len, sequences)])
        if options.get("per_step"):
            target = np.concatenate([np.asarray(one) for one in target])
        if options.get("dt") is not None:
            options["dt"] = np.concatenate([np.asarray(one) for one in options["dt"]])
        values = np.concatenate([np.asarray(one) for one in sequences])
        return cls(values, offsets, target, **options)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Int[np.ndarray, " n"]:
        """Steps of each sequence."""
        return np.diff(self.offsets)

    def sample(self, index: int) -> Sample:
        place = self._place(index)
        target = self.target[place] if self.per_step else self.target[index]
        return Sample(self.values[place], target, None if self.dt is None else self.dt[place])

    def _place(self, index: int) -> slice:
        return slice(int(self.offsets[index]), int(self.offsets[index + 1]))

    def batch(self, indices: Sequence[int]) -> Batch:
        """As :func:`collate`; each sequence is copied once, in its own precision."""
        chosen = np.asarray(indices)
        u, target = self.parts(self.values, chosen), self.target
        dt = None if self.dt is None else stacked(self.parts(self.dt, chosen), 1)
        return Batch(
            stacked(u, self.padding),
            stacked(self.parts(target, chosen), 0) if self.per_step else tensor_of(target[chosen]),
            torch.tensor([len(part) for part in u]),
            dt,
        )

    def parts(self, values: Any, chosen: Int[np.ndarray, " B"]) -> list[Any]:
        """What belongs to the chosen sequences of an array beside ``values``."""
        return [values[self._place(index)] for index in chosen.tolist()]


class Subset(SequenceData):
    """Some sequences of others, by their places in them."""

    def __init__(self, data: SequenceData, places: Int[np.ndarray, " n"]):
        self.data, self.places = data, np.asarray(places)

    def __len__(self) -> int:
        return len(self.places)

    @property
    def lengths(self) -> Int[np.ndarray, " n"] | None:
        """Those of the others at these places."""
        lengths = self.data.lengths
        return None if lengths is None else lengths[self.places]

    def batch(self, indices: Sequence[int]) -> Batch:
        """The batch that the others make of the places."""
        return self.data.batch(self.places[np.asarray(indices)].tolist())


class GeneratedSequences(Samples):
    """``size`` sequences generated on demand by ``make(generator, index)``, which returns a Sample.

    The k-th sequence has its own numpy generator, which depends only on ``seed`` and k.
    """

    def __init__(
        self,
        make: Callable[[np.random.Generator, int], Sample],
        size: int,
        seed: int,
        *,
        per_step: bool = False,
        padding: int = 0,
    ):
        self.make, self.size, self.seed = make, size, seed
        self.per_step, self.padding = per_step, padding

    def __len__(self) -> int:
        return self.size

    def sample(self, index: int) -> Sample:
        return self.make(np.random.default_rng((self.seed, index)), index)


class PairedSequences(Samples):
    """Pairs of the k-th sequences of ``first`` and ``second``, with ``target`` (n, ...); the
    targets of ``first`` and ``second`` are not used."""

    def __init__(self, first: Samples, second: Samples, target: Any):
        same = len(first) == len(second) == len(target)
        require(same, f"pairs: {len(first)} and {len(second)} sequences, {len(target)} targets")
        self.first, self.second, self.target = first, second, array_of(target)
        self.padding = first.padding

    def __len__(self) -> int:
        return len(self.first)

    @property
    def lengths(self) -> Int[np.ndarray, " n"] | None:
        """Steps of each pair's longer sequence; None where either is not known."""
        first, second = self.first.lengths, self.second.lengths
        return None if first is None or second is None else np.maximum(first, second)

    def batch(self, indices: Sequence[int]) -> Batch:
        """As :func:`collate`; without taking the samples one by one, where both are
        :class:`PaddedSequences`."""
        first, second, chosen = self.first, self.second, np.asarray(indices)
        if not (isinstance(first, PaddedSequences) and isinstance(second, PaddedSequences)):
            return super().batch(indices)
        both = first, second
        u = interleaved([one.parts(one.values, chosen) for one in both])
        uneven = all(one.dt is not None for one in both)
        dt = interleaved([one.parts(one.dt, chosen) for one in both]) if uneven else None
        return Batch(
            stacked(u, self.padding).unflatten(0, (-1, 2)),
            tensor_of(self.target[chosen]),
            torch.tensor([len(part) for part in u]).unflatten(0, (-1, 2)),
            None if dt is None else stacked(dt, 1).unflatten(0, (-1, 2)),
        )

    def sample(self, index: int) -> Sample:
        a, b = self.first.sample(index), self.second.sample(index)
        return Sample((a.u, b.u), self.target[index], None if a.dt is None else (a.dt, b.dt))


@dataclass(frozen=True)
class Varied:
    """In what a further test set differs from ``test``: the ``value`` of a ``quantity``, for
    example 4 of "length factor"."""

    quantity: str
    value: float


@dataclass(frozen=True)
class Splits:
    """The parts of a task's data: one to train on, one to select on, and test sets.

    ``further``: more test sets by name, each scored beside ``test``, for example a part of it or
    another record. ``varied``: of those that differ from ``test`` in one quantity, by name.
    """

    train: SequenceData
    val: SequenceData
    test: SequenceData
    further: Mapping[str, SequenceData] = field(default_factory=dict)
    varied: Mapping[str, Varied] = field(default_factory=dict)

    def and_further(self, more: Mapping[str, tuple[SequenceData, Varied]]) -> Splits:
        """With more further test sets, each with what is varied in it; itself with none."""
        if not more:
            return self
        return replace(
            self,
            further={**self.further, **{name: data for name, (data, _) in more.items()}},
            varied={**self.varied, **{name: varied for name, (_, varied) in more.items()}},
        )

    def by_name(self) -> dict[str, SequenceData]:
        """All of them."""
        return {"train": self.train, "val": self.val, "test": self.test, **self.further}
