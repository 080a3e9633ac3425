"""Any benchmark of the package ``nonlinear_benchmarks``, by its name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ssmbench.errors import require
from ssmbench.registry import tasks
from ssmbench.tasks.benchmark_package import PACKAGE, package_data_folder, paths, read
from ssmbench.tasks.data import data_folder
from ssmbench.tasks.published import PublishedData
from ssmbench.tasks.sysid.published import PublishedConfig, write_mat
from ssmbench.tasks.sysid.record import Description, Experiments, Record, Signal
from ssmbench.tasks.sysid.task import SystemIdentification

#: The unit in which the score of a benchmark is reported, and how many of it are one of the
#: files' units. Others are scored in the unit of the files.
UNITS = {
    "EMPS": ("mm", 1000.0),
    "CED": ("ticks/s", 1.0),
    "Cascaded_Tanks": ("V", 1.0),
    "WienerHammerBenchMark": ("mV", 1000.0),
    "Silverbox": ("mV", 1000.0),
    "ParWH": ("mV", 1000.0),
    "F16": ("m/s^2", 1.0),
}


@dataclass
class NonlinearBenchmarksConfig(PublishedConfig):
    """Which benchmark, and how its estimation records are cut; lengths in samples."""

    #: The name of the package's loader, for example EMPS, Silverbox, ParWH.
    benchmark: str = "EMPS"


@tasks.register(
    "nonlinear_benchmarks",
    config=NonlinearBenchmarksConfig,
    citation="the package nonlinear_benchmarks of nonlinearbenchmark.org",
    summary="Any benchmark of the package nonlinear_benchmarks by its name, cut as the package "
    "cuts it; RMSE; needs the package and its files",
)
class NonlinearBenchmarks(SystemIdentification):
    """Inputs and outputs as the package's loader gives them; its test records are the test and
    further tests, of each of which the ``state_initialization_window_length`` is not scored.

    The files are those that the package keeps, or has laid out in the data folder.
    """

    config: NonlinearBenchmarksConfig
    requires: ClassVar[str] = PACKAGE
    published = PublishedData(
        places=(("EMPS/DATA_EMPS.mat",),),
        size=2_000_000,
        licence="of each benchmark",
        page="https://www.nonlinearbenchmark.org",
        package_loader="EMPS",
        note="With benchmark=NAME any other loader of the package; ParWH has 58 MB, F16 148 MB.",
    )

    @property
    def origin(self) -> str:
        """The benchmark and its package."""
        return f"{self.config.benchmark} of the package {PACKAGE}"

    @cached_property
    def description(self) -> Description:
        """From the records, of which the channels are known only after reading. Raises
        UsageError."""
        record, step = self._read.estimations[0], self._sampling_time
        unit, _ = self._unit
        return Description(
            PACKAGE,
            inputs=[Signal(f"input {k + 1}", "") for k in range(record.u.shape[1])],
            outputs=[Signal(f"output {k + 1}", unit) for k in range(record.y.shape[1])],
            sampling_time=step,
        )

    @property
    def unit(self) -> str:
        """The unit of the outputs and of the score; "" where the package does not say it."""
        return self._unit[0]

    @property
    def _unit(self) -> tuple[str, float]:
        return UNITS.get(self.config.benchmark, ("", 1.0))

    def check(self) -> None:
        """Lengths are checked after reading."""

    def _folders(self) -> list[Path]:
        """Where the package's files may be. Raises UsageError: a folder that does not exist."""
        given = data_folder(self.config.data_dir)
        kept = None if self.config.data_dir else package_data_folder()
        return [folder for folder in (given, kept) if folder is not None]

    def data_files(self) -> tuple[Path, ...]:
        """The files that the package names. Raises UsageError where it has none."""
        found = read(self.config.benchmark, self._folders(), data_file_locations=True)
        files = paths(found)
        for file in files:
            require(
                file.is_file(), f"{PACKAGE}: {file} is no file: {self.config.benchmark} is not read"
            )
        return tuple(files)

    @classmethod
    def tiny(cls, folder: Path) -> dict[str, Any]:
        """Noise in the layout of the coupled electric drives."""
        table = np.random.default_rng(0).normal(size=(4, 500))
        names = ("u11", "z11", "u12", "z12")
        write_mat(folder / "CED" / "DATAUNIF.MAT", dict(zip(names, table, strict=True)))
        lengths = {"window": 50, "stride": 10, "washout": 5, "validation": 100}
        return {"data_dir": str(folder), "benchmark": "CED", **lengths}

    def experiments(self) -> Experiments:
        return self._read

    @cached_property
    def _content(self) -> tuple[list[Any], list[Any]]:
        """The package's records for training and for tests."""
        found = read(self.config.benchmark, self._folders())
        parts = found if isinstance(found, tuple | list) and len(found) == 2 else ((), ())
        train, test = (_several(part) for part in parts)
        require(
            bool(train) and bool(test),
            f"{PACKAGE}: {self.config.benchmark} has no records for training and for a test",
        )
        return train, test

    @cached_property
    def _sampling_time(self) -> float:
        step = self._content[0][0].sampling_time
        return 1.0 if step is None else float(step)

    @cached_property
    def _read(self) -> Experiments:
        train, test = self._content
        first, *further = (self._record(one) for one in test)
        names = [one.name or f"test {k}" for k, one in enumerate(test, 1)][1:]
        unique = [f"{k} {name}" if names.count(name) > 1 else name for k, name in enumerate(names)]
        return Experiments(
            [self._record(one) for one in train],
            first,
            dict(zip(unique, further, strict=True)),
        )

    def _record(self, data: Any) -> Record:
        u, y = (np.asarray(one, dtype=float).reshape(len(data.y), -1) for one in (data.u, data.y))
        return Record(u, self._unit[1] * y, data.state_initialization_window_length or 0)


def _several(part: Any) -> list[Any]:
    """The records of a part: one of the package's own type can be iterated too."""
    return list(part) if isinstance(part, list | tuple) else [part]
