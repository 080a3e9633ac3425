"""Speech Commands: one-second recordings of 35 words at 16 kHz, sample by sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from ssmbench.errors import UsageError, require
from ssmbench.options import FOLDER, option
from ssmbench.registry import tasks
from ssmbench.results import PublishedScore
from ssmbench.spec import Channels, TaskSizes
from ssmbench.tasks.audio.recordings import Recording, recorded_splits
from ssmbench.tasks.classification import Classification
from ssmbench.tasks.data import require_data
from ssmbench.tasks.digest import listing_digest
from ssmbench.tasks.published import Download, PublishedData
from ssmbench.tasks.published_scores import S4D, S5
from ssmbench.tasks.sequences import Splits

RATE = 16_000
FOLDERS = ("speech_commands/", "SpeechCommands/", "speech_commands_v0.02/")
LISTS = {"val": "validation_list.txt", "test": "testing_list.txt"}
#: The ten words of the smaller task (Warden 2018, section 7.1), and all of version 0.02.
COMMANDS = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
WORDS = (
    *("backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward"),
    *("four", "go", "happy", "house", "learn", "left", "marvin", "nine", "no", "off", "on"),
    *("one", "right", "seven", "sheila", "six", "stop", "three", "tree", "two", "up", "visual"),
    *("wow", "yes", "zero"),
)


#: Published accuracies in percent at 16 kHz, and of the same weights at 8 kHz.
_PUBLISHED = (
    (S4D, "S4-LegS", 96.08, 91.32),
    (S4D, "S4D-LegS", 95.83, 91.08),
    (S4D, "S4D-Inv", 96.18, 91.80),
    (S4D, "S4D-Lin", 96.25, 91.58),
    (S5, "S5", 96.52, 94.53),
)
_PADDED = "recordings padded to a second"


class Words(Enum):
    """``all``: the 35 words; ``commands``: ten of them."""

    all = "all"
    commands = "commands"


@dataclass
class SpeechCommandsConfig:
    """``words``: which are told apart. ``half_rate``: whether the test recordings at half their
    sampling rate are a further test set; the model's step sizes are doubled for it, so it needs a
    continuous-time parametrization."""

    data_dir: str | None = option(None, FOLDER)
    words: Words = Words.all
    half_rate: bool = False


@tasks.register(
    "speech_commands",
    config=SpeechCommandsConfig,
    citation="P. Warden, Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition, "
    "arXiv 1804.03209, 2018, version 0.02",
    summary="Spoken words as raw audio, 16,000 samples, 35 classes; needs the data folder",
)
class SpeechCommands(Classification):
    """u (B, L, 1): the samples, standardised; target (B,) int64: the word's place in the alphabet.

    Validation and test parts are those of the published lists, by speaker. Recordings of less than
    a second are not padded; published results pad them to 16,000 samples.
    """

    config: SpeechCommandsConfig

    published = PublishedData(
        places=(FOLDERS,),
        size=2_400_000_000,
        licence="CC BY 4.0",
        page="https://www.tensorflow.org/datasets/catalog/speech_commands",
        downloads=(
            Download(
                "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
                "",
                "speech_commands/",
            ),
        ),
    )

    @property
    def words(self) -> tuple[str, ...]:
        """The words that are told apart, in the order of the classes."""
        return WORDS if self.config.words is Words.all else COMMANDS

    @property
    def sizes(self) -> TaskSizes:
        """One channel of a second, and a class for each word."""
        return TaskSizes(Channels(1), outputs=len(self.words), length=RATE)

    @property
    def source(self) -> str:
        """Where the data come from."""
        return "published WAV files"

    def _folder(self) -> Path:
        return require_data("speech_commands", self.config.data_dir, *FOLDERS)

    def data_files(self) -> tuple[Path, ...]:
        """The two published lists. Raises UsageError where they are missing."""
        folder = self._folder()
        for name in LISTS.values():
            require((folder / name).is_file(), f"speech_commands: {folder} has no {name}")
        return tuple(folder / name for name in LISTS.values())

    def data_facts(self) -> Mapping[str, Any]:
        """Names and sizes of the recordings, which are too many to read for a digest."""
        return {"recordings": listing_digest(self._folder(), "*/*.wav")}

    @classmethod
    def tiny(cls, folder: Path) -> dict[str, Any]:
        """Six recordings of noise of each command; one is a second long."""
        from scipy.io import wavfile

        root, random = folder / "speech_commands", np.random.default_rng(0)
        listed: dict[str, list[str]] = {"val": [], "test": []}
        for word in COMMANDS:
            (root / word).mkdir(parents=True, exist_ok=True)
            for k, part in enumerate(("train", "train", "train", "train", "val", "test")):
                name = f"{word}/{k:08x}_nohash_0.wav"
                samples = RATE if (word, k) == ("up", 0) else int(random.integers(100, 200))
                noise = random.integers(-3000, 3000, samples, dtype=np.int16)
                wavfile.write(root / name, RATE, noise)
                listed.get(part, []).append(name)
        for part, names in listed.items():
            (root / LISTS[part]).write_text("\n".join(names) + "\n")
        return {"data_dir": str(folder), "words": Words.commands}

    def load(self) -> Splits:
        """The recordings in the published parts.

        Raises:
            UsageError: no data folder, a list or a word that is missing, or a file that is not
                right.
        """
        return recorded_splits(
            "speech_commands",
            self._parts(),
            digest=self.data_digest,
            rate=RATE,
            max_samples=RATE,
            half_rate=self.config.half_rate,
        )

    def published_scores(self) -> tuple[PublishedScore, ...]:
        """Of all 35 words, and of the recordings at half their sampling rate."""
        if self.config.words is not Words.all:
            return ()
        sets = ("test", "half rate") if self.config.half_rate else ("test",)
        return tuple(
            by.accuracy(model, percent, test_set=test_set, note=_PADDED)
            for by, model, *both in _PUBLISHED
            for test_set, percent in zip(sets, both, strict=False)
        )

    def _parts(self) -> dict[str, list[Recording]]:
        folder = self._folder()
        part_of = {name: part for part in LISTS for name in _listed(folder, LISTS[part])}
        parts: dict[str, list[Recording]] = {"train": [], "val": [], "test": []}
        for label, word in enumerate(self.words):
            files = sorted((folder / word).glob("*.wav"))
            require(bool(files), f"speech_commands: {folder} has no recordings of {word!r}")
            for file in files:
                part = part_of.get(f"{word}/{file.name}", "train")
                parts[part].append(Recording(file, label))
        for part, recordings in parts.items():
            require(bool(recordings), f"speech_commands: no recordings for the split {part}")
        return parts


def _listed(folder: Path, name: str) -> set[str]:
    """The recordings of a published list; each must be there."""
    found: set[str] = set()
    for line, text in enumerate((folder / name).read_text(encoding="utf-8").splitlines(), 1):
        recording = text.strip()
        if recording and not (folder / recording).is_file():
            raise UsageError(f"{folder / name}:{line}: no such recording: {recording!r:.80}")
        found.add(recording)
    return found
