"""The Coupled Electric Drives benchmark: speed of a pulley that two motors drive by a belt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from ssmbench.errors import require
from ssmbench.registry import tasks
from ssmbench.tasks.published import PublishedData
from ssmbench.tasks.sysid.published import PublishedConfig, PublishedRecords, write_mat
from ssmbench.tasks.sysid.record import Description, Experiments, Record, Signal

FILES = tuple(
    folder + name
    for name in ("DATAUNIF.MAT", "DATAUNIF.mat", "DATAUNIF.csv")
    for folder in ("sysid/", "CED/", "")
)
SAMPLES, ESTIMATION = 500, 400


@dataclass
class CedConfig(PublishedConfig):
    """How the first 400 samples of each record are cut; lengths in samples."""

    window: int = 150
    stride: int = 2
    washout: int = 20
    validation: int = 100


@tasks.register(
    "ced",
    config=CedConfig,
    citation="T. Wigren and M. Schoukens, Coupled electric drives data set and reference models, "
    "Uppsala University, Technical Report 2017-024, 2017; nonlinearbenchmark.org",
    summary="Coupled electric drives: speed of a pulley, without its sign, in two short records; "
    "RMSE in ticks/s; needs the data folder",
)
class Ced(PublishedRecords):
    """One input, the voltage of both motors, and one output, the pulley's speed as a pulse counter
    gives it, without a sign, every 20 ms.

    Two records of 500 samples with uniformly distributed inputs: ``u11``, ``z11`` of low amplitude
    and ``u12``, ``z12`` of high. As the package ``nonlinear_benchmarks`` cuts them: samples 0 to
    399 of each for estimation, 400 to 499 for the tests, of which the first 10 are not scored.
    Test: the low amplitude; ``high amplitude`` is a further test.
    """

    config: CedConfig
    names = ("u11", "z11", "u12", "z12")
    description = Description(
        "ced",
        inputs=[Signal("the motors' voltage", "V")],
        outputs=[Signal("the pulley's speed", "ticks/s")],
        sampling_time=0.02,
        samples=ESTIMATION,
    )
    published = PublishedData(
        places=(FILES,),
        size=30_000,
        licence="none stated",
        page="https://www.nonlinearbenchmark.org/benchmarks/coupled-electric-drives",
        package_loader="CED",
    )

    @classmethod
    def tiny(cls, folder: Path) -> dict[str, Any]:
        """A file of noise."""
        table = np.random.default_rng(0).normal(size=(4, SAMPLES))
        write_mat(folder / "DATAUNIF.MAT", dict(zip(cls.names, table, strict=True)))
        return {"data_dir": str(folder)}

    def cut(self, signals: Sequence[Float64[np.ndarray, "L n"]]) -> Experiments:
        found = len(signals[0])
        require(found == SAMPLES, f"ced: the file has {found} samples, not {SAMPLES}")
        u1, z1, u2, z2 = signals[0].T
        low, high = Record.single(u1, z1), Record.single(u2, z2)
        tests = [one.part(ESTIMATION).scored(10) for one in (low, high)]
        estimation = [one.part(0, ESTIMATION) for one in (low, high)]
        return Experiments(estimation, tests[0], {"high amplitude": tests[1]})
