"""Named signals of a file: CSV with a header line, MAT of version 5 to 7, or NPZ."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from ssmbench.errors import UsageError, require, suggest
from ssmbench.tasks.data import read_columns

#: Separators of a text file's cells: the first of them that the header has is taken.
_DELIMITERS = "\t;,"
#: What readers raise for files that are damaged or of another kind.
_UNREADABLE = (ValueError, TypeError, KeyError, IndexError, EOFError, zlib.error)


def read_signals(file: Path, names: Sequence[str]) -> Float64[np.ndarray, "L n"]:
    """The named signals of a file, one column for each name.

    ``names``: column names of a text file (.csv, .tsv, .txt), variables of a .mat or .npz file. Of
    a variable with several columns or rows, ``name(2)`` is the second; its longer axis is time. A
    field of a structure is ``name.field``.

    Raises:
        UsageError: the file cannot be read, a name is not in it, the signals have different
            lengths, or a value is not a finite number; the message names file, signal and place.
    """
    kind = file.suffix.lower()
    if kind in (".csv", ".tsv", ".txt"):
        return read_columns(file, names, delimiter=_delimiter(file))
    require(kind in (".mat", ".npz"), f"{file}: must be a .csv, .tsv, .txt, .mat or .npz file")
    found = dict(_signals(_read_mat(file) if kind == ".mat" else _read_npz(file)))
    for name in names:
        require(name in found, f"{file}: no signal {name!r}; {_nearest(name, found)}")
    chosen = [_numbers(file, name, found[name]) for name in names]
    lengths = [len(one) for one in chosen]
    same = len(set(lengths)) == 1
    listed = ", ".join(f"{n} {size:,}" for n, size in zip(names, lengths, strict=True))
    require(same, f"{file}: signals of different lengths: {listed}")
    return np.stack(chosen, axis=1)


def _nearest(name: str, found: Mapping[str, Any]) -> str:
    several = sorted(one for one in found if one.startswith(f"{name}("))
    if several:
        return f"it has several columns: choose from {several[0]} to {several[-1]}"
    return suggest(name, found)


def _delimiter(file: Path) -> str:
    try:
        with file.open(encoding="utf-8-sig") as stream:
            header = stream.readline()
    except (OSError, UnicodeDecodeError):
        return ","  # the reader says what is wrong
    return next((one for one in _DELIMITERS if one in header), ",")


def _read_mat(file: Path) -> dict[str, Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        with file.open("rb") as stream:
            content = loadmat(stream, simplify_cells=True)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror or error})") from None
    except NotImplementedError:
        raise UsageError(
            f"{file}: a MAT-file of version 7.3 (HDF5) is not read: save it in MATLAB with "
            "save(..., '-v7'), or as CSV"
        ) from None
    except (MatReadError, *_UNREADABLE) as error:
        raise UsageError(f"{file}: not a MAT-file ({error})") from None
    return {name: value for name, value in content.items() if not name.startswith("__")}


def _read_npz(file: Path) -> dict[str, Any]:
    try:
        with np.load(file, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror or error})") from None
    except (*_UNREADABLE, AttributeError, zipfile.BadZipFile) as error:
        raise UsageError(f"{file}: not an NPZ file of numbers ({error})") from None


def _signals(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Every signal by its name."""
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _signals(value, f"{prefix}{name}.")
            continue
        array = np.squeeze(np.asarray(value))
        if array.ndim == 2:
            rows = array if array.shape[0] < array.shape[1] else array.T
            yield from ((f"{prefix}{name}({k + 1})", row) for k, row in enumerate(rows))
        elif array.ndim < 2:
            yield prefix + name, np.atleast_1d(array)


def _numbers(file: Path, name: str, signal: np.ndarray) -> Float64[np.ndarray, " L"]:
    real = signal.dtype.kind in "fiub"
    require(real, f"{file}: {name} does not hold real numbers but {signal.dtype}")
    numbers = signal.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        raise UsageError(f"{file}: {name}, sample {bad[0] + 1}: {numbers[bad[0]]} is not finite")
    return numbers
