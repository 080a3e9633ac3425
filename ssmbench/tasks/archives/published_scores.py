"""Accuracies on the archives' data sets, read from the installed package aeon."""

from __future__ import annotations

import csv
from pathlib import Path

from ssmbench.results import PublishedScore
from ssmbench.tasks.archives.files import package_folder

#: A CSV file for each classifier: a line for each data set, then the accuracy on each resample.
FOLDER = "testing/example_results_files/classification/accuracy"
_ENDING = "_accuracy.csv"
_SOURCE = "files of the package aeon; M. Middlehurst et al., Bake off redux, arXiv 2304.13029"


def archive_scores(dataset: str) -> tuple[PublishedScore, ...]:
    """The accuracies on the published test part; none where aeon is not installed or has none.

    The first resample is the published division into training and test series.
    """
    package = package_folder("aeon")
    files = sorted(Path(package, FOLDER).glob(f"*{_ENDING}")) if package else []
    found = ((file.name.removesuffix(_ENDING), _accuracy(file, dataset)) for file in files)
    return tuple(
        PublishedScore(model, accuracy, _SOURCE)
        for model, accuracy in found
        if accuracy is not None
    )


def _accuracy(file: Path, dataset: str) -> float | None:
    with file.open(newline="", encoding="utf-8") as lines:
        for name, *resamples in csv.reader(lines):
            if name == dataset:
                return float(resamples[0])
    return None
