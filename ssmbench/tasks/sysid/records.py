"""Any records on disk as a task, from the config alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ssmbench.errors import require
from ssmbench.options import COUNT, FOLDER, POSITIVE, option
from ssmbench.registry import tasks
from ssmbench.tasks.data import data_folder
from ssmbench.tasks.sysid.record import Description, Experiments, Record, Signal
from ssmbench.tasks.sysid.tables import read_signals
from ssmbench.tasks.sysid.task import RecordConfig, SystemIdentification


@dataclass
class RecordsConfig(RecordConfig):
    """Which signals of which files, and what is tested; lengths in samples.

    Files: CSV with a header line (also .tsv, .txt), MAT (version 5 to 7) or NPZ.
    """

    #: Files of the estimation records, in the data folder.
    files: list[str] = field(default_factory=list)
    #: Names of the inputs in every file; ``name(2)`` is the second column of a variable.
    inputs: list[str] = field(default_factory=list)
    #: Names of the outputs.
    outputs: list[str] = field(default_factory=list)
    #: The unit of the outputs.
    unit: str = ""
    #: In seconds.
    sampling_time: float = option(1.0, POSITIVE)
    #: Files of test records: the first is the test, each other a further one.
    test_files: list[str] = field(default_factory=list)
    #: Without test files: the last samples of the first file are the test.
    test_samples: int = option(0, COUNT)
    #: By default the folder of the environment variable SSMBENCH_DATA, else the working folder.
    data_dir: str | None = option(None, FOLDER)


@tasks.register(
    "records",
    config=RecordsConfig,
    citation="none: the user's own records",
    summary="Any records of inputs and outputs in CSV, MAT or NPZ files, by column names",
)
class Records(SystemIdentification):
    """Outputs from inputs, both named in the config.

    Of a file from whose end the test is taken, the model runs through one window before it.
    """

    config: RecordsConfig
    data_version = 2  # means of several channels are summed in another order

    def __init__(self, config: RecordsConfig, *, batch_size: int, seed: int):
        self.description = Description(
            "records",
            inputs=[Signal(name, "") for name in config.inputs],
            outputs=[Signal(name, config.unit) for name in config.outputs],
            sampling_time=config.sampling_time,
        )
        super().__init__(config, batch_size=batch_size, seed=seed)

    def check(self) -> None:
        """Refuse a config without names, files or a test. Raises UsageError."""
        super().check()
        config = self.config
        for key in ("files", "inputs", "outputs"):
            require(bool(getattr(config, key)), f"records: {key} must name at least one")
        tested = bool(config.test_files) != (config.test_samples > 0)
        require(tested, "records: needs either test_files or test_samples, and not both")

    @property
    def origin(self) -> str:
        """The names of the files."""
        return "files " + ", ".join([*self.config.files, *self.config.test_files])

    def data_files(self) -> tuple[Path, ...]:
        """All files. Raises UsageError where one is missing."""
        folder = data_folder(self.config.data_dir) or Path.cwd()
        paths = [folder / name for name in (*self.config.files, *self.config.test_files)]
        for path in paths:
            require(path.is_file(), f"records: no file {path}")
        return tuple(paths)

    @classmethod
    def tiny(cls, folder: Path) -> dict[str, Any]:
        """A file of noise with one input and two outputs."""
        table = np.random.default_rng(0).normal(size=(300, 3))
        np.savetxt(folder / "rig.csv", table, delimiter=",", header="u,x,v", comments="")
        names: dict[str, Any] = {"files": ["rig.csv"], "inputs": ["u"], "outputs": ["x", "v"]}
        lengths = {"window": 40, "stride": 3, "washout": 5, "validation": 60}
        return names | lengths | {"data_dir": str(folder), "unit": "m", "test_samples": 80}

    def experiments(self) -> Experiments:
        config = self.config
        records = [self._record(file) for file in self.data_files()]
        number = len(config.files)
        if config.test_files:
            names = [Path(name).stem for name in config.test_files]
            tests = dict(zip(names, records[number:], strict=True))
            require(len(tests) == len(names), f"records: test_files of one name: {names}")
            return Experiments(records[:number], tests.pop(names[0]), tests)
        first, last = records[0], len(records[0]) - config.test_samples
        require(
            last >= 1,
            f"records: test_samples must be below {len(first)}, the samples of {config.files[0]}",
        )
        test = first.part(last, run_in=config.window)
        return Experiments([first.part(0, last), *records[1:]], test)

    def _record(self, file: Path) -> Record:
        signals = read_signals(file, [*self.config.inputs, *self.config.outputs])
        number = len(self.config.inputs)
        return Record(signals[:, :number], signals[:, number:])
