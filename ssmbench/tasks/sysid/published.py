"""What the published benchmarks share: their files lie in the data folder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from ssmbench.options import FOLDER, option
from ssmbench.tasks.data import require_data
from ssmbench.tasks.published import PublishedData
from ssmbench.tasks.sysid.record import Experiments
from ssmbench.tasks.sysid.tables import read_signals
from ssmbench.tasks.sysid.task import RecordConfig, SystemIdentification


@dataclass
class PublishedConfig(RecordConfig):
    """How the estimation record is cut; lengths in samples."""

    #: The data folder; by default that of the environment variable SSMBENCH_DATA.
    data_dir: str | None = option(None, FOLDER)


class PublishedRecords(SystemIdentification):
    """A derived class sets :attr:`published` and :attr:`names`, and cuts the signals in
    :meth:`cut`."""

    config: PublishedConfig
    published: PublishedData
    #: The signals that are read from each file.
    names: Sequence[str]

    @property
    def origin(self) -> str:
        """Where the records come from."""
        return "published records"

    def places(self) -> Sequence[Sequence[str]]:
        """Of each file that is read, the names that it may have in the data folder."""
        return self.published.places

    def data_files(self) -> tuple[Path, ...]:
        """The files that are read. Raises UsageError where one is missing."""
        about, folder = self.description, self.config.data_dir
        return tuple(require_data(about.name, folder, *names) for names in self.places())

    def names_in(self, file: Path) -> Sequence[str]:
        """The names of the signals in a file."""
        return self.names

    def experiments(self) -> Experiments:
        """The signals of all files, cut into records."""
        return self.cut([read_signals(file, self.names_in(file)) for file in self.data_files()])

    @abstractmethod
    def cut(self, signals: Sequence[Float64[np.ndarray, "L n"]]) -> Experiments:
        """The records of the benchmark from the signals of each file, in the order of
        :attr:`names`. Raises UsageError where they are shorter than the benchmark's."""


def write_mat(file: Path, signals: Mapping[str, Any]) -> None:
    """A MAT-file with these variables, one-dimensional ones as columns."""
    from scipy.io import savemat

    file.parent.mkdir(parents=True, exist_ok=True)
    savemat(file, dict(signals), oned_as="column", do_compression=True)
