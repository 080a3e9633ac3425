"""What simulated systems share: records of chosen lengths, and a gain that is known."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from ssmbench.errors import require
from ssmbench.options import NOT_NEGATIVE, POSITIVE_COUNT, SEED, option
from ssmbench.tasks.cache import cached_arrays
from ssmbench.tasks.sequences import Sequences
from ssmbench.tasks.sysid.record import Record
from ssmbench.tasks.sysid.task import RecordConfig, SystemIdentification


@dataclass
class SimulatedConfig(RecordConfig):
    """How the estimation record is cut, and how the records are made; lengths in samples."""

    #: Samples of the estimation record.
    samples: int = option(16_384, POSITIVE_COUNT)
    #: Samples of the test record.
    test_samples: int = option(8192, POSITIVE_COUNT)
    #: Standard deviation of white measurement noise, relative to that of the output.
    noise: float = option(0.01, NOT_NEGATIVE)
    #: Draws the input and the noise.
    simulation_seed: int = option(0, SEED)


@dataclass(frozen=True)
class KnownGain:
    """Proved bounds on an l2 gain from the input to the sampled output without noise.

    ``incremental``: of differences between two inputs and their outputs, from one initial state;
    else of inputs and outputs themselves, from rest.
    """

    least: float
    most: float
    incremental: bool
    unit: str

    def __str__(self) -> str:
        kind = "incremental l2 gain" if self.incremental else "l2 gain"
        if self.least == self.most:
            return f"{kind} of {self.most:.4g} {self.unit}"
        return f"{kind} from {self.least:.4g} to {self.most:.4g} {self.unit}"

    def times(self, factor: float, unit: str) -> KnownGain:
        """The same gain in another unit."""
        return KnownGain(self.least * factor, self.most * factor, self.incremental, unit)


class Simulated(SystemIdentification):
    """A derived class defines :attr:`known_gain` and :meth:`record` beside what every record
    needs."""

    config: SimulatedConfig
    fixed_length_reason = ""

    def check(self) -> None:
        """Refuse a test record of no length. Raises UsageError."""
        super().check()
        require(
            self.config.test_washout < self.config.test_samples,
            f"{self.description.name}: test_washout must be below test_samples, "
            f"{self.config.test_samples}",
        )

    @abstractmethod
    def record(self, length: int, random: np.random.Generator) -> Record:
        """A record of so many samples, drawn as the test record is."""

    def longer(self, factor: int) -> Sequences:
        """Another test record, ``factor`` times as long."""
        random = np.random.default_rng((self.config.simulation_seed, factor))
        return self.tested("the record", self.record(factor * self.config.test_samples, random))

    @property
    def origin(self) -> str:
        """That it is a simulation, and its gain."""
        return f"simulation with an {self.known_gain}"

    @property
    @abstractmethod
    def known_gain(self) -> KnownGain:
        """The gain in physical units."""

    @property
    def normalised_gain(self) -> KnownGain:
        """The gain of the system whose input and output are normalised as those of a model: what a
        model's declared and attacked gains are to be compared with. Loads the data."""
        self.setup()
        scale = float(self._inputs.deviation[0] / self._outputs.deviation[0])
        return self.known_gain.times(scale, "in normalised units")

    def kept(
        self,
        u: Float64[np.ndarray, " L"],
        constants: Mapping[str, Any],
        respond: Callable[[], Float64[np.ndarray, " L"]],
    ) -> Float64[np.ndarray, " L"]:
        """``respond()``, the output for ``u`` of the system with these ``constants``; computed once
        and kept on disk."""
        drawn = hashlib.sha256(u.tobytes()).hexdigest()
        settings = {"input": drawn, "version": self.data_version, **constants}
        arrays = cached_arrays(self.description.name, settings, lambda: {"y": respond()})
        return np.array(arrays["y"])

    def measured(
        self,
        u: Float64[np.ndarray, " L"],
        y: Float64[np.ndarray, " L"],
        random: np.random.Generator,
    ) -> Record:
        """A record of one input, and one output with noise."""
        return Record.single(u, y + self.config.noise * y.std() * random.standard_normal(len(u)))
