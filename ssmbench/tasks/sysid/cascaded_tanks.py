"""The Cascaded Tanks benchmark: from a pump's voltage to the level of the lower of two tanks.

The published measurements are read if a data folder is given; otherwise a simulation of the same
tanks, overflow included, takes their place.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from ssmbench.errors import UsageError, require
from ssmbench.options import FOLDER, SEED, option
from ssmbench.registry import tasks
from ssmbench.tasks.data import DATA_VARIABLE, find_data, read_columns
from ssmbench.tasks.published import PublishedData
from ssmbench.tasks.sequences import Sequences
from ssmbench.tasks.sysid.record import Description, Experiments, Record, Signal
from ssmbench.tasks.sysid.tables import read_signals
from ssmbench.tasks.sysid.tanks_simulation import (
    SAMPLE_TIME,
    SAMPLES,
    longer_record,
    simulated_records,
)
from ssmbench.tasks.sysid.task import RecordConfig, SystemIdentification

FILES = (
    *("sysid/dataBenchmark.csv", "dataBenchmark.csv"),
    *("sysid/dataBenchmark.mat", "dataBenchmark.mat"),
    "Cascaded_Tanks/CascadedTanksFiles/dataBenchmark.mat",
)
COLUMNS = ("uEst", "yEst", "uVal", "yVal")


class Records(Enum):
    """Which records: ``auto`` takes the published ones if a data folder is given."""

    auto = "auto"
    published = "published"
    simulation = "simulation"


@dataclass
class CascadedTanksConfig(RecordConfig):
    """Where the records come from, and how the estimation record is cut; lengths in samples."""

    #: Published measurements or a simulation; auto: published if a data folder is given.
    records: Records = Records.auto
    #: Folder with the published file; by default that of the environment variable SSMBENCH_DATA.
    data_dir: str | None = option(None, FOLDER)
    # Both records overflow with the default, the estimation record twice before its held-out end.
    #: Seed of simulated records.
    simulation_seed: int = option(2, SEED)

    def resolve_auto(self) -> None:
        """Replace ``auto`` by the choice for this machine, so that the run's name states which data
        it used.

        Raises:
            UsageError: published records are asked for, or a folder is given, without the file.
        """
        if self.records is Records.auto:
            found = find_data(self.data_dir, *FILES)
            self.records = Records.published if found else Records.simulation
        elif self.records is Records.published and find_data(self.data_dir, *FILES) is None:
            raise UsageError(
                "cascaded_tanks: records=published needs the data folder: set data_dir or"
                f" {DATA_VARIABLE} to one that holds {FILES[0]}"
            )


@tasks.register(
    "cascaded_tanks",
    config=CascadedTanksConfig,
    citation=(
        "M. Schoukens and J.P. Noel, Three benchmarks addressing open challenges in nonlinear"
        " system identification, IFAC-PapersOnLine 50(1), 2017; nonlinearbenchmark.org"
    ),
    summary="Level of the lower of two overflowing tanks from the pump's voltage; RMSE in volts",
)
class CascadedTanks(SystemIdentification):
    """One input, the pump's voltage, and one output, the level of the lower tank, both in volts.

    Both records start from the same initial state, which is unknown, and the whole test record is
    scored, as the benchmark prescribes.
    """

    config: CascadedTanksConfig
    description = Description(
        "cascaded_tanks",
        inputs=[Signal("the pump's voltage", "V")],
        outputs=[Signal("the lower tank's level", "V")],
        sampling_time=SAMPLE_TIME,
        samples=SAMPLES,
    )
    published = PublishedData(
        places=(FILES,),
        size=30_000,
        licence="none stated",
        page="https://www.nonlinearbenchmark.org/benchmarks/cascaded-tanks",
        package_loader="Cascaded_Tanks",
        note="Without the file, the same tanks are simulated.",
        optional=True,
    )

    def check(self) -> None:
        super().check()
        seed = self.config.simulation_seed
        require(seed >= 0, f"cascaded_tanks: simulation_seed must not be negative, got {seed}")

    @property
    def origin(self) -> str:
        """Where the data come from. Raises UsageError if :meth:`load` would not find them."""
        file = self._file()
        return "simulation" if file is None else f"published {file.suffix[1:].upper()}"

    def data_files(self) -> tuple[Path, ...]:
        """The published file; none for a simulation."""
        file = self._file()
        return () if file is None else (file,)

    def experiments(self) -> Experiments:
        file = self._file()
        if file is None:
            return Experiments(*simulated_records(self.config.simulation_seed))
        u_est, y_est, u_val, y_val = _columns(file).T
        return Experiments(Record.single(u_est, y_est), Record.single(u_val, y_val))

    @property
    def fixed_length_reason(self) -> str:
        """Published measurements end; a simulation goes on."""
        return "" if self._file() is None else "the published test record ends after 1,024 samples"

    def longer(self, factor: int) -> Sequences:
        """A simulated test record, ``factor`` times as long."""
        record = longer_record(self.config.simulation_seed, factor)
        return self.tested("the record", record)

    def _file(self) -> Path | None:
        if self.config.records is Records.simulation:
            return None
        return find_data(self.config.data_dir, *FILES)


def _columns(file: Path) -> Float64[np.ndarray, "1024 4"]:
    if file.suffix == ".csv":
        return read_columns(file, COLUMNS, SAMPLES)
    table = read_signals(file, COLUMNS)
    require(len(table) == SAMPLES, f"{file}: {len(table):,} samples, not {SAMPLES:,}")
    return table
