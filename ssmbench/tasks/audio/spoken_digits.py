"""The Free Spoken Digit Dataset: 3,000 recordings of English digits at 8 kHz, sample by sample."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssmbench.errors import UsageError, require
from ssmbench.options import FOLDER, POSITIVE_COUNT, option
from ssmbench.registry import tasks
from ssmbench.spec import Channels, TaskSizes
from ssmbench.tasks.audio.recordings import Recording, recorded_splits
from ssmbench.tasks.classification import Classification
from ssmbench.tasks.data import require_data
from ssmbench.tasks.published import Download, PublishedData
from ssmbench.tasks.sequences import Splits

CLASSES = 10
RATE = 8000
LONGEST = 18_262
#: Index of a recording among those of one digit by one speaker: below the first it is tested.
TEST_END = 5
PLACES = ("fsdd/recordings/", "free-spoken-digit-dataset/recordings/", "recordings/")
_NAME = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")


@dataclass
class SpokenDigitsConfig:
    """``val_recordings``: of each digit by each speaker, held out of the 45 that are not tested.

    ``max_samples``: what lies beyond is cut off; null for nothing. ``half_rate``: whether the test
    recordings at half their sampling rate are a further test set; the model's step sizes are
    doubled for it, so it needs a continuous-time parametrization.
    """

    data_dir: str | None = option(None, FOLDER)
    val_recordings: int = option(3, POSITIVE_COUNT)
    max_samples: int | None = option(None, POSITIVE_COUNT)
    half_rate: bool = False


@tasks.register(
    "spoken_digits",
    config=SpokenDigitsConfig,
    citation="Z. Jackson et al., Free Spoken Digit Dataset, v1.0.8, 2018, "
    "doi 10.5281/zenodo.1342401",
    summary="Spoken digits as raw audio, 1,148 to 18,262 samples, 10 classes; needs the data "
    "folder",
)
class SpokenDigits(Classification):
    """u (B, L, 1): the samples, standardised; target (B,) int64: the digit.

    The test part is the published one, recordings 0 to 4 of each digit by each speaker. The
    validation part is drawn from the published training part: recordings 5 to 7 by default.
    """

    config: SpokenDigitsConfig

    published = PublishedData(
        places=(PLACES,),
        size=21_000_000,
        licence="CC BY-SA 4.0",
        page="https://github.com/Jakobovski/free-spoken-digit-dataset",
        downloads=(
            Download(
                "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.8.zip",
                "",
                "fsdd/",
            ),
        ),
    )

    @property
    def sizes(self) -> TaskSizes:
        """One channel, ten classes; the length is that of the longest recording."""
        longest = min(self.config.max_samples or LONGEST, LONGEST)
        return TaskSizes(Channels(1), outputs=CLASSES, length=longest)

    @property
    def source(self) -> str:
        """Where the data come from."""
        return "published WAV files"

    def data_files(self) -> tuple[Path, ...]:
        """The recordings by name. Raises UsageError where there is no folder of them."""
        folder = require_data("spoken_digits", self.config.data_dir, *PLACES)
        return tuple(sorted(folder.glob("*.wav")))

    @classmethod
    def tiny(cls, folder: Path) -> dict[str, Any]:
        """Eight recordings of noise of each digit."""
        from scipy.io import wavfile

        random = np.random.default_rng(0)
        (folder / "recordings").mkdir(exist_ok=True)
        for digit in range(CLASSES):
            for index in range(8):
                noise = random.integers(-3000, 3000, random.integers(20, 60), dtype=np.int16)
                noise = np.pad(noise, (0, 60 - len(noise))) if index == 7 else noise
                wavfile.write(folder / "recordings" / f"{digit}_theo_{index}.wav", RATE, noise)
        return {"data_dir": str(folder), "val_recordings": 1, "max_samples": 60}

    def load(self) -> Splits:
        """The recordings in the published test part, a validation part, and the rest.

        Raises:
            UsageError: no data folder, or a file that is not right.
        """
        return recorded_splits(
            "spoken_digits",
            self._parts(),
            digest=self.data_digest,
            rate=RATE,
            max_samples=self.config.max_samples,
            half_rate=self.config.half_rate,
        )

    def _parts(self) -> dict[str, list[Recording]]:
        parts: dict[str, list[Recording]] = {"train": [], "val": [], "test": []}
        for file in self.data_files():
            digit, index = _read_name(file)
            parts[self._part(index)].append(Recording(file, digit))
        for part, recordings in parts.items():
            require(bool(recordings), f"spoken_digits: no recordings for the split {part}")
        return parts

    def _part(self, index: int) -> str:
        if index < TEST_END:
            return "test"
        return "val" if index < TEST_END + self.config.val_recordings else "train"


def _read_name(file: Path) -> tuple[int, int]:
    found = _NAME.fullmatch(file.name)
    if found is None:
        raise UsageError(f"{file}: expected a name such as 7_jackson_32.wav: digit, speaker, index")
    return int(found[1]), int(found[3])
