"""Shoulder exercises from a wrist watch's sensors: 140 recordings of ten people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int64

from ssmbench.errors import UsageError, require
from ssmbench.options import COUNT, FOLDER, option
from ssmbench.registry import tasks
from ssmbench.spec import Channels, TaskSizes
from ssmbench.tasks.archives.base import MOVED, labelled, standardised
from ssmbench.tasks.archives.files import package_folder
from ssmbench.tasks.classification import Classification
from ssmbench.tasks.data import find_data
from ssmbench.tasks.published import PublishedData
from ssmbench.tasks.sequences import Splits

FILE = "watch_dataset.npy"
CHANNELS, CLASSES = 6, 7


@dataclass
class WatchConfig:
    """Who is left out: one person for the test, one for validation."""

    moved: ClassVar[Mapping[str, str]] = MOVED

    data_dir: str | None = option(None, FOLDER)
    #: Place of the test person among the sorted numbers of the people, from 0.
    test_subject: int = option(0, COUNT)
    #: Place of the person for validation.
    val_subject: int = option(1, COUNT)


@tasks.register(
    "watch",
    config=WatchConfig,
    citation="D.M. Burns et al., Shoulder physiotherapy exercise recognition: machine learning the "
    "inertial signals from a smartwatch, Physiological Measurement 39, 2018, arXiv 1802.01489; "
    "D.M. Burns, C.M. Whyne, Seglearn, JMLR 19, 2018",
    summary="Seven shoulder exercises from a watch's six sensors, 947 to 2,618 steps; one person "
    "is left out; needs the package seglearn",
)
class Watch(Classification):
    """u (B, L, 6): acceleration and rotation at 50 Hz, standardised; target (B,) int64: the
    exercise. Recordings of one person are in one part only."""

    config: WatchConfig

    published = PublishedData(
        places=((FILE, f"watch/{FILE}"),),
        size=18_100_000,
        licence="BSD, with the package seglearn",
        page="https://pypi.org/project/seglearn",
        note="Read from the installed package seglearn, or from its file in the data folder.",
        optional=True,
    )

    def check(self) -> None:
        """Refuse one person in two parts. Raises UsageError."""
        config = self.config
        require(
            config.test_subject != config.val_subject,
            f"val_subject: must be another than test_subject, {config.test_subject}",
        )

    @property
    def sizes(self) -> TaskSizes:
        """Six channels, seven exercises, the longest training recording. Raises UsageError."""
        longest = max(len(self._content["series"][k]) for k in self._parts[0])
        return TaskSizes(Channels(CHANNELS), CLASSES, longest)

    @property
    def source(self) -> str:
        """Where the data come from."""
        return "watch recordings of the package seglearn"

    def data_files(self) -> tuple[Path, ...]:
        """The file of recordings. Raises UsageError where there is none."""
        found = find_data(self.config.data_dir, FILE, f"watch/{FILE}")
        root = package_folder("seglearn")
        if found is None and root is not None and (root / "data" / FILE).is_file():
            found = root / "data" / FILE
        require(found is not None, "watch: needs the package seglearn: pip install seglearn")
        assert found is not None
        return (found,)

    @classmethod
    def tiny(cls, folder: Path) -> dict[str, Any]:
        """Three recordings of each of ten people."""
        random = np.random.default_rng(0)
        content = {
            "X": [random.normal(size=(n, CHANNELS)) for n in random.integers(20, 40, 30)],
            "y": np.arange(30) % CLASSES,
            "subject": np.arange(30) % 10 + 1,
        }
        np.save(folder / FILE, np.array(content, dtype=object), allow_pickle=True)
        return {"data_dir": str(folder)}

    @cached_property
    def _content(self) -> dict[str, Any]:
        (file,) = self.data_files()
        try:
            content = np.load(file, allow_pickle=True).item()
            series = [np.asarray(one, dtype=np.float32) for one in content["X"]]
            labels, people = (np.asarray(content[key]).astype(int) for key in ("y", "subject"))
        except (OSError, ValueError, KeyError, AttributeError, EOFError) as error:
            raise UsageError(f"{file}: not the recordings of seglearn ({error})") from None
        right = all(one.ndim == 2 and one.shape[1] == CHANNELS for one in series)
        require(
            right and len(series) == len(labels) == len(people),
            f"{file}: expected recordings (L, {CHANNELS}) with a label and a person each",
        )
        return {"series": series, "labels": labels, "people": people}

    def load(self) -> Splits:
        """The recordings of the people trained on, of one for validation, and of one for the test.

        Raises:
            UsageError: the file is missing or not right, or there are fewer people.
        """
        series, labels = self._content["series"], self._content["labels"]
        parts = self._parts
        scaled = standardised(series, [series[k] for k in parts[0]])
        train, val, test = (labelled([scaled[k] for k in part], labels[part]) for part in parts)
        return Splits(train, val, test)

    @cached_property
    def _parts(self) -> list[Int64[np.ndarray, " _"]]:
        """Places of the recordings for training, validation and test."""
        people = self._content["people"]
        known = np.unique(people)
        for name in ("test_subject", "val_subject"):
            place = getattr(self.config, name)
            require(place < len(known), f"{name}: must be in 0..{len(known) - 1}, got {place}")
        test = people == known[self.config.test_subject]
        val = people == known[self.config.val_subject]
        return [np.flatnonzero(part) for part in (~test & ~val, val, test)]
