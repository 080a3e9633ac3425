"""Finds the files of a data folder and reads tables, with one clear line for each error."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from ssmbench.errors import UsageError, suggest
from ssmbench.paths import absolute
from ssmbench.tasks.benchmark_package import package_data_folder

DATA_VARIABLE = "SSMBENCH_DATA"


def find_data(config_dir: str | None, *relative: str) -> Path | None:
    """The first of ``relative`` in the data folder; None where there is none.

    A name that ends with a slash is a folder's, any other a file's. The data folder is
    ``config_dir``, else the environment variable SSMBENCH_DATA: that one serves many tasks, and
    need not hold the data of each. Without ``config_dir``, what the package nonlinear_benchmarks
    has downloaded is looked through last.

    Raises:
        UsageError: the data folder that was given does not exist, or ``config_dir`` has none of
            ``relative``.
    """
    folder = data_folder(config_dir)
    found = folder and _first_in(folder, relative)
    if found is None and config_dir:
        raise UsageError(f"data_dir {config_dir!r}: expected {_any_of(relative)} in that folder")
    if found is None and (kept := package_data_folder()) is not None:
        found = _first_in(kept, relative)
    return found


def require_data(task: str, config_dir: str | None, *relative: str) -> Path:
    """As :func:`find_data`, for a task that cannot do without.

    Raises:
        UsageError: what :func:`find_data` raises, or there is none.
    """
    found = find_data(config_dir, *relative)
    if found is None:
        folder = os.environ.get(DATA_VARIABLE)
        where = f"{DATA_VARIABLE} is {folder!r}, which has none; " if folder else ""
        raise UsageError(
            f"{task}: needs a data folder with {_any_of(relative)}: {where}set task.data_dir, or "
            f"{DATA_VARIABLE}"
        )
    return found


def data_folder(config_dir: str | None = None, *, create: bool = False) -> Path | None:
    """``config_dir``, else the folder that SSMBENCH_DATA names; None where neither is given.

    Raises:
        UsageError: it does not exist, unless it is to be created.
    """
    given_by = "data_dir" if config_dir else DATA_VARIABLE
    named = config_dir or os.environ.get(DATA_VARIABLE)
    if not named:
        return None
    folder = absolute(named, given_by)
    if create:
        folder.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        raise UsageError(f"{given_by} {named!r}: no such folder")
    return folder


def _first_in(folder: Path, relative: Sequence[str]) -> Path | None:
    for name in relative:
        path = folder / name
        if path.is_dir() if name.endswith("/") else path.is_file():
            return path
    return None


def _any_of(relative: Sequence[str]) -> str:
    return " or ".join(relative)


def read_columns(
    path: Path, columns: Sequence[str], rows: int | None = None, delimiter: str = ","
) -> Float64[np.ndarray, "rows columns"]:
    """The named columns of a CSV file with a header line, as float64.

    Other columns, empty lines, and a comma at the end of each line (as in some published files)
    are ignored.

    Raises:
        UsageError: the file cannot be read, a column is missing, a cell is not a finite number,
            or the number of rows is not ``rows`` (None: any number but zero).
    """
    lines = _csv_lines(path, delimiter)
    header = [name.strip() for name in lines[0][1]] if lines else []
    missing = [name for name in columns if name not in header]
    if missing:
        nearest = suggest(missing[0], filter(None, header))
        raise UsageError(f"{path}: no column {', '.join(missing)}; {nearest}")
    twice = [name for name in columns if header.count(name) > 1]
    if twice:
        raise UsageError(f"{path}: several columns have the name {twice[0]}")
    places = [header.index(name) for name in columns]
    body = lines[1:]
    if len(body) != (rows or len(body)) or not body:
        raise UsageError(f"{path}: {len(body)} rows of data, expected {rows or 'at least one'}")
    try:
        table = np.array([[float(cells[at]) for at in places] for _, cells in body])
    except (ValueError, IndexError):
        table = np.array(math.nan)
    if not np.isfinite(table).all():  # find the first cell that is wrong, for the message
        table = np.array(
            [[_number(path, line, cells, at) for at in places] for line, cells in body]
        )
    return table


def column_names(path: Path, *, numeric: bool = False) -> list[str]:
    """The columns in a CSV file's header line; with ``numeric``, those whose first value is a
    number.

    Raises:
        UsageError: the file cannot be read, or it has no such column.
    """
    lines = _csv_lines(path)
    names = [name.strip() for name in lines[0][1]] if lines else []
    first = lines[1][1] if len(lines) > 1 else []
    found = [
        name
        for at, name in enumerate(names)
        if name and (not numeric or (at < len(first) and _is_number(first[at])))
    ]
    if not found:
        raise UsageError(f"{path}: no column{' of numbers' if numeric else ''}")
    return found


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _csv_lines(path: Path, delimiter: str = ",") -> list[tuple[int, list[str]]]:
    """The non-empty lines with their numbers; the first is the header."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
            return [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a CSV text file"
        raise UsageError(f"{path}: cannot be read ({reason})") from error


def _number(path: Path, line: int, cells: Sequence[str], place: int) -> float:
    cell = cells[place].strip() if place < len(cells) else ""
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"{path}:{line}: cell {place + 1} is not a finite number: {cell[:40]!r}")
    return value
