"""Reading the arrays of an ``.npz`` file that may be wrong or malicious: nothing is unpickled."""

from __future__ import annotations

import io
import math
import os
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.lib import format as npy

from ssmbench.errors import UsageError

#: A larger array is refused before any memory is allocated for it.
MAX_BYTES = 2**30
#: NumPy's own limit on a header's text is 10,000 bytes.
MAX_HEADER_BYTES = 2**14
#: The compressions that numpy.savez and numpy.savez_compressed use.
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_NOT_AN_ARCHIVE = "not a NumPy .npz archive, as numpy.savez writes it"
#: What zipfile, zlib and NumPy raise on damaged bytes, besides OSError.
_DAMAGED = (
    EOFError,
    LookupError,
    OverflowError,
    RuntimeError,  # a password is needed; NotImplementedError: a later version of zip
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


#: From the path and the archive to its members by key, after a check of the keys.
Members = Callable[[str, zipfile.ZipFile], dict[str, zipfile.ZipInfo]]


def read_npz(path: str, members: Members, contents: str = "") -> dict[str, np.ndarray]:
    """The arrays of the file by key, float64 or complex128, after a check that the keys are right
    and all numbers finite. ``contents`` ends the sentence on a file with one bare array.

    Raises:
        UsageError: one line that names the file, the key, what was found and what is allowed.
    """
    try:
        if stat.S_ISFIFO(os.stat(path).st_mode):
            raise UsageError(f"{path}: is a pipe; allowed: a file")
        with zipfile.ZipFile(path) as archive:
            found = members(path, archive)
            return {key: _array(path, key, archive, info) for key, info in found.items()}
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or 'damaged'}") from None
    except _DAMAGED:
        raise UsageError(f"{path}: {_instead_of_an_archive(path, contents)}") from None


def _instead_of_an_archive(path: str, contents: str) -> str:
    with open(path, "rb") as file:
        bare = file.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX
    return f"holds one bare array, not an .npz archive{contents}" if bare else _NOT_AN_ARCHIVE


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    length: int

    @property
    def bytes(self) -> int:
        """The memory that the array takes, in Python integers, which cannot overflow."""
        return math.prod(self.shape) * self.dtype.itemsize


def _array(path: str, key: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    if info.compress_type not in COMPRESSIONS:
        raise UsageError(f"{path}: {key} is compressed by a method that NumPy does not use")
    try:
        with archive.open(info) as stream:
            start = stream.read(MAX_HEADER_BYTES)
            header = _header(start)
            _check_claims(path, key, header, info.file_size - header.length)
            data = start[header.length :] + stream.read()
        array = np.frombuffer(data, header.dtype)
        array = array.reshape(header.shape, order="F" if header.fortran else "C")
        return numbers(path, key, array)
    except UsageError:
        raise
    except MemoryError:
        raise UsageError(f"{path}: {key} does not fit into memory") from None
    except (OSError, *_DAMAGED):
        raise UsageError(f"{path}: {key} is damaged and cannot be read") from None


def _header(start: bytes) -> _Header:
    """The shape, order, dtype and length from an array's header.

    Raises:
        ValueError: this is not a header.
    """
    stream = io.BytesIO(start)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    with warnings.catch_warnings():  # headers of Python 2, odd literals
        warnings.simplefilter("ignore")
        try:
            shape, fortran, dtype = readers[npy.read_magic(stream)](stream)
        except Exception as error:  # NumPy hands the text to Python's parser, tokenizer and dtype
            raise ValueError("not a NumPy header") from error
    if any(isinstance(n, bool) or n < 0 for n in shape):
        raise ValueError(shape)
    return _Header(shape, fortran, dtype, stream.tell())


def _check_claims(path: str, key: str, header: _Header, available: int) -> None:
    """Check, before memory is allocated, that the entries are numbers, in the file, and not too
    many."""
    if header.dtype.hasobject:
        raise UsageError(
            f"{path}: {key} is an array of Python objects, which are never unpickled; "
            "allowed: numbers"
        )
    check_dtype(path, key, header.dtype)
    if header.bytes != available:
        raise UsageError(
            f"{path}: {key} claims to take {header.bytes} bytes (shape {shown(header.shape)}), "
            f"but the file holds {available}"
        )
    if header.bytes > MAX_BYTES:
        raise UsageError(
            f"{path}: {key} takes {header.bytes / 2**30:.1f} GiB (shape {shown(header.shape)}); "
            f"allowed: at most {MAX_BYTES / 2**30:g} GiB"
        )


def check_dtype(path: str, key: str, dtype: np.dtype) -> None:
    if dtype.kind not in "iufc":
        raise UsageError(
            f"{path}: {key} has dtype {dtype!s:.40}; "
            "allowed: integers, real or complex floating point"
        )


def shown(shape: tuple[int, ...]) -> str:
    text = str(shape)
    return text if len(text) <= 60 else f"of {len(shape)} dimensions"


# --- numbers ------------------------------------------------------------------------------------


def numbers(path: str, key: str, value: np.ndarray) -> np.ndarray:
    """The array in float64 or complex128, after a check that all entries are finite."""
    kind = np.complex128 if value.dtype.kind == "c" else np.float64
    with np.errstate(all="ignore"):
        double = np.ascontiguousarray(value.astype(kind)).reshape(value.shape)
        bad = int((~np.isfinite(double)).sum())
        lost = int(((double == 0) & (value != 0)).sum())
    if bad:
        raise UsageError(
            f"{path}: {key} holds {bad} NaN or infinite of {value.size} entries; "
            "allowed: finite numbers"
        )
    if lost:
        raise UsageError(f"{path}: {key} holds {lost} entries too small for double precision")
    return double
