"""The Wiener-Hammerstein benchmark: an electronic circuit of two filters around a diode."""

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
    for name in ("WienerHammerBenchMark.mat", "WienerHammerBenchmark.csv")
    for folder in ("sysid/", "", "WienerHammerBenchMark/")
)
#: The first sample of the excitation, of the test, and after its end.
START, TEST, END = 5200, 105_200, 184_000


@dataclass
class WienerHammersteinConfig(PublishedConfig):
    """How the 100,000 estimation samples are cut; lengths in samples."""

    window: int = 1024
    stride: int = 256
    washout: int = 128
    validation: int = 20_000
    validation_washout: int | None = 1024


@tasks.register(
    "wiener_hammerstein",
    config=WienerHammersteinConfig,
    citation="J. Schoukens, J. Suykens and L. Ljung, Wiener-Hammerstein benchmark, IFAC Symposium "
    "on System Identification, 2009; nonlinearbenchmark.org",
    summary="Electronic circuit: a diode between two filters, free run over 78,800 samples; RMSE "
    "in mV; needs the data folder",
)
class WienerHammerstein(PublishedRecords):
    """One input and one output in mV at 51.2 kHz.

    As the package ``nonlinear_benchmarks`` cuts them: samples 5,200 to 105,199 for estimation,
    105,200 to 183,999 for the test, of which the first 50 are not scored.
    """

    config: WienerHammersteinConfig
    names = ("uBenchMark", "yBenchMark")
    description = Description(
        "wiener_hammerstein",
        inputs=[Signal("the input voltage", "mV")],
        outputs=[Signal("the output voltage", "mV")],
        sampling_time=1 / 51_200,
        samples=TEST - START,
    )
    published = PublishedData(
        places=(FILES,),
        size=1_700_000,
        licence="none stated",
        page="https://www.nonlinearbenchmark.org/benchmarks/wiener-hammerstein",
        package_loader="WienerHammerBenchMark",
    )

    @classmethod
    def tiny(cls, folder: Path) -> dict[str, Any]:
        """A file of noise, and few windows."""
        u, y = np.random.default_rng(0).normal(size=(2, END)).round(2)
        write_mat(folder / FILES[1], {"uBenchMark": u, "yBenchMark": y, "fs": 51_200.0})
        return {"data_dir": str(folder), "stride": 2048, "fir_taps": 4}

    def cut(self, signals: Sequence[Float64[np.ndarray, "L n"]]) -> Experiments:
        u, y = 1000 * signals[0].T
        require(len(u) >= END, f"wiener_hammerstein: {len(u):,} samples, fewer than {END:,}")
        whole = Record.single(u, y)
        return Experiments(whole.part(START, TEST), whole.part(TEST, END).scored(50))
