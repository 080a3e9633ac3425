"""Records of experiments on a system: what was measured, and in which units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float64

from ssmbench.errors import require


@dataclass(frozen=True)
class Signal:
    """A measured quantity and the unit of its values."""

    name: str
    unit: str


@dataclass(frozen=True)
class Description:
    """What is known of a benchmark before its records are read.

    ``name``: of the task, for messages. ``inputs`` and ``outputs``: one signal for each channel, in
    order; the outputs have the same unit, in which the score is given. ``sampling_time``: in
    seconds. ``samples``: length of the estimation record; None if it is known only after reading.

    Raises:
        UsageError: the outputs have different units.
    """

    name: str
    inputs: Sequence[Signal]
    outputs: Sequence[Signal]
    sampling_time: float
    samples: int | None = None

    def __post_init__(self) -> None:
        units = sorted({signal.unit for signal in self.outputs})
        require(len(units) == 1, f"{self.name}: the outputs must have one unit, not {units}")

    @property
    def unit(self) -> str:
        """The unit of all outputs."""
        return self.outputs[0].unit


@dataclass(frozen=True)
class Record:
    """One experiment: inputs ``u`` (L, m) and outputs ``y`` (L, p), float64, in physical units.

    ``scored_from``: the first sample that is scored where the record is a test; a model runs
    through those before it.
    """

    u: Float64[np.ndarray, "L m"]
    y: Float64[np.ndarray, "L p"]
    scored_from: int = 0

    @classmethod
    def single(cls, u: Float64[np.ndarray, " L"], y: Float64[np.ndarray, " L"]) -> Record:
        """A record of one input and one output."""
        return cls(u[:, None], y[:, None])

    def part(self, first: int, end: int | None = None, *, run_in: int = 0) -> Record:
        """Samples ``first`` to ``end`` - 1, scored from the first one on, after ``run_in`` samples
        before them that a model runs through."""
        before = max(first - run_in, 0)
        return Record(self.u[before:end], self.y[before:end], scored_from=first - before)

    def scored(self, first: int) -> Record:
        """The record, scored from this sample on."""
        return replace(self, scored_from=first)

    def __len__(self) -> int:
        return len(self.u)


@dataclass(frozen=True)
class Experiments:
    """The records of a benchmark.

    ``estimation``: for training and validation, one record or several. ``test``: for the final
    score. ``further``: more test records by name, each scored beside ``test``.
    """

    estimation: Record | Sequence[Record]
    test: Record
    further: Mapping[str, Record] = field(default_factory=dict)

    @property
    def estimations(self) -> tuple[Record, ...]:
        """The estimation records."""
        one = self.estimation
        return (one,) if isinstance(one, Record) else tuple(one)
