"""The EMPS benchmark: position of a drive with friction from the voltage of its motor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from ssmbench.registry import tasks
from ssmbench.tasks.published import PublishedData
from ssmbench.tasks.sysid.published import PublishedConfig, PublishedRecords, write_mat
from ssmbench.tasks.sysid.record import Description, Experiments, Record, Signal

FILES = ("sysid/DATA_EMPS.mat", "EMPS/DATA_EMPS.mat", "DATA_EMPS.mat")
PULSES = tuple(name.replace("EMPS.mat", "EMPS_PULSES.mat") for name in FILES)


@dataclass
class EmpsConfig(PublishedConfig):
    """How the estimation record of 24,841 samples is cut; lengths in samples."""

    window: int = 2048
    stride: int = 64
    washout: int = 128
    validation: int = 5000


@tasks.register(
    "emps",
    config=EmpsConfig,
    citation="A. Janot, M. Gautier and M. Brunot, Data set and reference models of EMPS, Workshop "
    "on Nonlinear System Identification Benchmarks, 2019; nonlinearbenchmark.org",
    summary="Electro-mechanical positioning system with friction: position from the motor's "
    "voltage; RMSE in mm; needs the data folder",
)
class Emps(PublishedRecords):
    """One input, the motor's voltage ``vir`` in V, and one output, the position ``qm``, in mm, at
    1 kHz.

    The system integrates; the records were measured in closed loop, the reference being no input
    here. Test: the record with force pulses, of which the first 20 samples are not scored.
    """

    config: EmpsConfig
    names = ("vir", "qm")
    description = Description(
        "emps",
        inputs=[Signal("the motor's voltage", "V")],
        outputs=[Signal("the position", "mm")],
        sampling_time=1e-3,
    )
    published = PublishedData(
        places=(FILES, PULSES),
        size=2_000_000,
        licence="none stated",
        page="https://www.nonlinearbenchmark.org/benchmarks/emps",
        package_loader="EMPS",
        note="DATA_EMPS.mat and DATA_EMPS_PULSES.mat of EMPS.zip.",
    )

    @classmethod
    def tiny(cls, folder: Path) -> dict[str, Any]:
        """Two short records of noise."""
        random = np.random.default_rng(0)
        for names in (FILES, PULSES):
            vir, qm, qg = random.normal(size=(3, 400))
            time = np.arange(400) / 1000
            write_mat(folder / names[2], {"vir": vir, "qm": qm, "qg": qg, "t": time})
        lengths = {"window": 50, "stride": 10, "washout": 5, "validation": 100}
        return {"data_dir": str(folder)} | lengths

    def cut(self, signals: Sequence[Float64[np.ndarray, "L n"]]) -> Experiments:
        estimation, test = (Record.single(s[:, 0], 1000 * s[:, 1]) for s in signals)
        return Experiments(estimation, test.scored(20))
