"""The F-16 benchmark: vibration of an aircraft's wing with bolted connections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from ssmbench.registry import tasks
from ssmbench.tasks.published import PublishedData
from ssmbench.tasks.sysid.published import PublishedConfig, PublishedRecords, write_mat
from ssmbench.tasks.sysid.record import Description, Experiments, Record, Signal

FOLDERS = (
    *("sysid/F16/", "F16GVT_Files/BenchmarkData/", "BenchmarkData/", ""),
    "F16/F16GVT_Files/BenchmarkData/",
)
#: Levels of excitation, of increasing amplitude: for estimation, and for the tests.
ESTIMATION_LEVELS, TEST_LEVELS = (1, 3, 5, 7), (6, 2, 4)
OUTPUTS = ("at the wing", "on the wing's side", "on the payload's side")


class Excitation(Enum):
    """The kind of the input signal."""

    FullMSine = "FullMSine"
    SineSw = "SineSw"


def places(excitation: str, level: int) -> tuple[str, ...]:
    """The names that the file of an excitation and level may have."""
    ending = "_Validation" if level in TEST_LEVELS else ""
    name = f"F16Data_{excitation}_Level{level}{ending}"
    return tuple(f"{folder}{name}{kind}" for kind in (".mat", ".csv") for folder in FOLDERS)


@dataclass
class F16Config(PublishedConfig):
    """Which excitation, and how each estimation record is cut; lengths in samples."""

    window: int = 2048
    stride: int = 512
    washout: int = 256
    validation: int = 8192
    validation_washout: int | None = 2048
    #: A multisine, or a sine whose frequency changes slowly.
    excitation: Excitation = Excitation.FullMSine


@tasks.register(
    "f16",
    config=F16Config,
    citation="J.P. Noel and M. Schoukens, F-16 aircraft benchmark based on ground vibration test "
    "data, Workshop on Nonlinear System Identification Benchmarks, 2017; nonlinearbenchmark.org",
    summary="Ground vibration test of an F-16: three accelerations from a shaker's force; RMSE in "
    "m/s^2; needs the data folder",
)
class F16(PublishedRecords):
    """One input, the force in N, and three outputs, accelerations in m/s^2, at 400 Hz.

    Estimation: levels 1, 3, 5 and 7, of each its end held out. Test: the validation record of
    level 6; those of levels 2 and 4 are further tests. The first 50 samples of a test are not
    scored, as in the package ``nonlinear_benchmarks``.
    """

    config: F16Config
    data_version = 2  # means of several channels are summed in another order
    description = Description(
        "f16",
        inputs=[Signal("the force", "N")],
        outputs=[Signal(f"the acceleration {where}", "m/s^2") for where in OUTPUTS],
        sampling_time=1 / 400,
    )
    published = PublishedData(
        places=tuple(places("FullMSine", k) for k in (*ESTIMATION_LEVELS, *TEST_LEVELS)),
        size=150_000_000,
        licence="none stated",
        page="https://www.nonlinearbenchmark.org/benchmarks/f-16-ground-vibration-test",
        package_loader="F16",
        note="F16GVT_Files.zip; for excitation=SineSw the files of that name.",
    )

    def places(self) -> Sequence[Sequence[str]]:
        """The files of the chosen excitation."""
        kind = self.config.excitation.name
        return [places(kind, level) for level in (*ESTIMATION_LEVELS, *TEST_LEVELS)]

    def names_in(self, file: Path) -> Sequence[str]:
        """In a MAT-file the accelerations are one variable, in a CSV file three columns."""
        form = "Acceleration({})" if file.suffix == ".mat" else "Acceleration{}"
        return ("Force", *(form.format(k) for k in (1, 2, 3)))

    @classmethod
    def tiny(cls, folder: Path) -> dict[str, Any]:
        """Short records of noise."""
        random = np.random.default_rng(0)
        for level in (*ESTIMATION_LEVELS, *TEST_LEVELS):
            force, voltage = random.normal(size=(2, 1, 300))
            content = {"Force": force, "Voltage": voltage, "Fs": 400.0}
            content["Acceleration"] = random.normal(size=(3, 300))
            write_mat(folder / places("FullMSine", level)[3], content)
        lengths = {"window": 50, "stride": 10, "washout": 5, "validation": 100}
        return {"data_dir": str(folder), "validation_washout": 50} | lengths

    def cut(self, signals: Sequence[Float64[np.ndarray, "L n"]]) -> Experiments:
        records = [Record(one[:, :1], one[:, 1:]) for one in signals]
        number = len(ESTIMATION_LEVELS)
        test, *further = (one.scored(50) for one in records[number:])
        names = [f"level {level}" for level in TEST_LEVELS[1:]]
        return Experiments(records[:number], test, dict(zip(names, further, strict=True)))
