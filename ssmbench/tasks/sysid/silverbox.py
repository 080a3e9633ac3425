"""The Silverbox benchmark: an electronic mass-spring-damper with a cubic spring."""

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
from ssmbench.tasks.sysid.published import PublishedConfig, PublishedRecords
from ssmbench.tasks.sysid.record import Description, Experiments, Record, Signal

FILES = (
    *("sysid/SNLS80mV.csv", "SNLS80mV.csv", "sysid/SNLS80mV.mat", "SNLS80mV.mat"),
    "Silverbox/SilverboxFiles/SNLS80mV.mat",
)
SCHROEDER = tuple(name.replace("SNLS", "Schroeder") for name in FILES)
SAMPLES = 131_072
SAMPLING_RATE = 610.35  # Hz
#: The arrow: noise of growing amplitude. Its first samples start from an unknown state.
ARROW, SETTLED = 40_000, 200
#: First samples of the multisine realisations that are trained on, held out, and tested.
ESTIMATION, VALIDATION, MULTISINE = 40_700, 114_688, 122_880
#: Where the multisine ends; another arrow begins there.
END = 127_400
RUN_IN = 1024


@dataclass
class SilverboxConfig(PublishedConfig):
    """How the multisine is cut; lengths in samples.

    ``schroeder``: whether the record of the second file, a multisine with Schroeder's phases at
    80 mV, is an estimation record too.
    """

    window: int = 1024
    stride: int = 256
    washout: int = 128
    validation: int = MULTISINE - VALIDATION
    validation_washout: int | None = 1024
    schroeder: bool = False


@tasks.register(
    "silverbox",
    config=SilverboxConfig,
    citation="T. Wigren and J. Schoukens, Three free data sets for development and benchmarking in "
    "nonlinear system identification, European Control Conference, 2013; nonlinearbenchmark.org",
    summary="Electronic Duffing oscillator: output voltage from input voltage, free run over "
    "40,000 samples of growing amplitude; RMSE in mV; needs the data folder",
)
class Silverbox(PublishedRecords):
    """One input and one output in mV at 610.35 Hz.

    Estimation: samples 40,700 to 122,879, realisations of a multisine of 8,192 samples, of which
    the last is held out. Test: the arrow, samples 0 to 39,999, from a zero state. From about
    sample 31,000 on it exceeds the amplitudes of the estimation data; the further tests
    ``arrow to 25,000`` and ``arrow to 30,000`` end before and start at sample 200, after the
    unknown initial state has died out. ``multisine``: samples 122,880 to 127,399, the rest of the
    multisine, after 1,024 samples of run-in.
    """

    config: SilverboxConfig
    names = ("V1", "V2")
    fixed_length_reason = (
        "its test is the whole arrow, 40 times as long as a training sequence, and its further "
        "tests are parts of it"
    )
    description = Description(
        "silverbox",
        inputs=[Signal("the input voltage", "mV")],
        outputs=[Signal("the output voltage", "mV")],
        sampling_time=1 / SAMPLING_RATE,
        samples=MULTISINE - ESTIMATION,
    )

    published = PublishedData(
        places=(FILES, SCHROEDER),
        size=5_400_000,
        licence="none stated",
        page="https://www.nonlinearbenchmark.org/benchmarks/silverbox",
        package_loader="Silverbox",
        note="SNLS80mV.csv and Schroeder80mV.csv of SilverboxFiles.zip.",
    )

    def places(self) -> Sequence[Sequence[str]]:
        """The second file only on request."""
        return (FILES, SCHROEDER) if self.config.schroeder else (FILES,)

    @classmethod
    def tiny(cls, folder: Path) -> dict[str, Any]:
        """A file of noise, and few windows."""
        u, y = np.random.default_rng(0).normal(size=(2, SAMPLES)).round(3)
        lines = "\n".join(f"{a},{b}," for a, b in zip(u.tolist(), y.tolist(), strict=True))
        (folder / FILES[1]).write_text(f'"V1","V2",\n{lines}\n')
        return {"data_dir": str(folder), "stride": 2048, "fir_taps": 4}

    def cut(self, signals: Sequence[Float64[np.ndarray, "L n"]]) -> Experiments:
        for one in signals:
            require(len(one) == SAMPLES, f"silverbox: {len(one):,} samples, not {SAMPLES:,}")
        first, *more = (Record.single(*(1000 * one.T)) for one in signals)
        return Experiments(
            estimation=[first.part(ESTIMATION, MULTISINE), *more],
            test=first.part(0, ARROW),
            further={
                "arrow to 25,000": first.part(SETTLED, 25_000, run_in=SETTLED),
                "arrow to 30,000": first.part(SETTLED, 30_000, run_in=SETTLED),
                "multisine": first.part(MULTISINE, END, run_in=RUN_IN),
            },
        )
