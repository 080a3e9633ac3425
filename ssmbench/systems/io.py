"""Reading a linear system from a file that may be wrong or malicious."""

from __future__ import annotations

import io
import math
import os
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy

from ssmbench.errors import UsageError, require, suggest
from ssmbench.systems.lti import ContinuousDense, DiscreteDense, DiscreteLTI

MATRICES = ("A", "B", "C", "D")
KEYS = (*MATRICES, "dt")
#: A larger array is refused before any memory is allocated for it.
MAX_BYTES = 2**30
#: NumPy's own limit on a header's text is 10,000 bytes.
MAX_HEADER_BYTES = 2**14
#: The compressions that numpy.savez and numpy.savez_compressed use.
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_SHAPES = {"A": "(N, N)", "B": "(N, m)", "C": "(p, N)", "D": "(p, m)"}
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


def load_system(path: str | os.PathLike[str]) -> ContinuousDense | DiscreteDense:
    """A linear system from a NumPy ``.npz`` file.

    Keys: A (N, N), B (N, m), C (p, N), D (p, m), real or complex, or all four with a leading bank
    dimension H; for one input or output also B (N,), C (N,) and a scalar D. N may be 0, and a file
    with D alone is a static gain. dt is a scalar: absent or 0 for continuous time (x' = A x + B u),
    positive for discrete time (x[k+1] = A x[k] + B u[k]); its value is not used otherwise. In both,
    y = C x + D u. Nothing is ever unpickled, and a header's claim about the size is checked before
    memory is allocated.

    Returns:
        ContinuousDense (step size 1) or DiscreteDense, float64 or complex128.

    Raises:
        UsageError: one line that names the file, the key, what was found and what is allowed.
    """
    path = os.fspath(path)
    return _assembled(_read(path), path)


def system_from_arrays(
    arrays: Mapping[str, Any], source: str = "system"
) -> ContinuousDense | DiscreteDense:
    """A linear system from arrays in memory, with the keys, shapes and rules of
    :func:`load_system`.

    Accepts whatever NumPy can turn into an array, and torch tensors; a key whose value is None is
    ignored. Error messages begin with ``source``.

    Raises:
        UsageError: as for :func:`load_system`.
    """
    given = {key: value for key, value in arrays.items() if value is not None}
    for key in given:
        require(key in KEYS, f"{source}: unknown key {key!r}; {suggest(str(key), KEYS)}")
    _check_members(source, given)
    return _assembled({key: _in_memory(source, key, v) for key, v in given.items()}, source)


def save_system(path: str | os.PathLike[str], system: DiscreteLTI, dt: float = 1.0) -> None:
    """Write a discrete system as an ``.npz`` file that :func:`load_system` reads.

    Raises:
        UsageError: the file cannot be written.
    """
    dense = system.to_dense()
    arrays = {key: getattr(dense, key).detach().cpu().numpy() for key in MATRICES}
    if system.heads == 1:
        arrays = {key: array[0] for key, array in arrays.items()}
    try:
        with open(path, "wb") as stream:  # numpy.savez would append .npz to a path
            np.savez(stream, **arrays, dt=dt)
    except OSError as error:
        raise UsageError(f"{os.fspath(path)}: cannot be written: {error.strerror}") from None


def _in_memory(source: str, key: str, value: Any) -> np.ndarray:
    tensor = isinstance(value, torch.Tensor)
    try:
        array = np.asarray(value.detach().cpu() if tensor else value)
    except (TypeError, ValueError):  # ragged lists
        raise UsageError(f"{source}: {key} is not an array: {str(value)[:60]!r}") from None
    _check_dtype(source, key, array.dtype)
    return _numbers(source, key, array)


def _assembled(arrays: dict[str, np.ndarray], path: str) -> ContinuousDense | DiscreteDense:
    dt = _step_size(path, arrays.pop("dt", None))
    if set(arrays) == {"D"}:
        arrays.update(_without_states(arrays["D"]))
    banked = arrays["A"].ndim == 3
    arrays = {key: _with_bank(path, key, arrays[key], banked) for key in MATRICES}
    _check_shapes(path, arrays, banked)
    tensors: dict[str, Any] = {key: torch.from_numpy(x) for key, x in arrays.items()}
    if dt > 0:
        return DiscreteDense(**tensors)
    return ContinuousDense(dt=torch.ones(len(tensors["A"]), dtype=torch.float64), **tensors)


# --- bytes --------------------------------------------------------------------------------------


def _read(path: str) -> dict[str, np.ndarray]:
    """The arrays of the file by key, after a check that the keys are right and all numbers
    finite."""
    try:
        if stat.S_ISFIFO(os.stat(path).st_mode):
            raise UsageError(f"{path}: is a pipe; allowed: a file")
        with zipfile.ZipFile(path) as archive:
            members = _members(path, archive)
            return {key: _array(path, key, archive, info) for key, info in members.items()}
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or 'damaged'}") from None
    except _DAMAGED:
        raise UsageError(f"{path}: {_instead_of_an_archive(path)}") from None


def _instead_of_an_archive(path: str) -> str:
    with open(path, "rb") as file:
        bare = file.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX
    return "holds one bare array, not an .npz archive of A, B, C, D" if bare else _NOT_AN_ARCHIVE


def _members(path: str, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Members by key, after a check that every key is known, occurs once and that none is
    missing."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        key = info.filename.removesuffix(".npy")
        if key not in KEYS or key == info.filename:
            shown = info.filename if key in KEYS else key
            raise UsageError(f"{path}: unknown key {shown[:40]!r}; {suggest(key[:40], KEYS)}")
        if key in members:
            raise UsageError(f"{path}: holds {key} twice")
        members[key] = info
    _check_members(path, members)
    return members


def _check_members(path: str, members: Iterable[str]) -> None:
    missing = [key for key in MATRICES if key not in members]
    if missing and missing != ["A", "B", "C"]:
        raise UsageError(
            f"{path}: missing {', '.join(missing)} (found: {', '.join(members) or 'nothing'}); "
            "needed: A (N, N), B (N, m), C (p, N), D (p, m), or D alone"
        )


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
        return _numbers(path, key, array)
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
    _check_dtype(path, key, header.dtype)
    if header.bytes != available:
        raise UsageError(
            f"{path}: {key} claims to take {header.bytes} bytes (shape {_shown(header.shape)}), "
            f"but the file holds {available}"
        )
    if header.bytes > MAX_BYTES:
        raise UsageError(
            f"{path}: {key} takes {header.bytes / 2**30:.1f} GiB (shape {_shown(header.shape)}); "
            f"allowed: at most {MAX_BYTES / 2**30:g} GiB"
        )


def _check_dtype(path: str, key: str, dtype: np.dtype) -> None:
    if dtype.kind not in "iufc":
        raise UsageError(
            f"{path}: {key} has dtype {dtype!s:.40}; "
            "allowed: integers, real or complex floating point"
        )


def _shown(shape: tuple[int, ...]) -> str:
    text = str(shape)
    return text if len(text) <= 60 else f"of {len(shape)} dimensions"


# --- numbers ------------------------------------------------------------------------------------


def _numbers(path: str, key: str, value: np.ndarray) -> np.ndarray:
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


def _step_size(path: str, dt: np.ndarray | None) -> float:
    if dt is None:
        return 0.0
    if dt.size != 1:
        raise UsageError(f"{path}: dt has shape {_shown(dt.shape)}; allowed: one number")
    value = dt.reshape(()).item()
    if isinstance(value, complex) or value < 0:
        raise UsageError(
            f"{path}: dt is {value}; allowed: 0 (continuous time) or a positive step size"
        )
    return value


# --- shapes -------------------------------------------------------------------------------------


def _without_states(D: np.ndarray) -> dict[str, np.ndarray]:
    """A, B and C of the static gain D; for a wrong shape of D, ones that lead to its error
    message."""
    outputs, inputs = D.shape[-2:] if D.ndim in (2, 3) else (1, 1)
    bank = D.shape[:1] if D.ndim == 3 else ()
    shapes = {"A": (0, 0), "B": (0, inputs), "C": (outputs, 0)}
    return {key: np.zeros((*bank, *shape)) for key, shape in shapes.items()}


def _with_bank(path: str, key: str, array: np.ndarray, banked: bool) -> np.ndarray:
    """The matrix with its leading bank dimension and with single-channel short forms expanded."""
    if banked and array.ndim == 3:
        return array
    if not banked and array.ndim == 2:
        return array[None]
    if not banked and array.ndim == 1 and key in "BC":
        return array[None, :, None] if key == "B" else array[None, None, :]
    if not banked and array.ndim == 0 and key == "D":
        return array[None, None, None]
    if key == "A":
        allowed = "(N, N), or (H, N, N) for a bank"
    elif banked:
        allowed = f"(H, {_SHAPES[key][1:]}, since A has a bank dimension"
    else:
        short = {"B": " or (N,)", "C": " or (N,)", "D": " or a scalar"}[key]
        allowed = _SHAPES[key] + short
    raise UsageError(f"{path}: {key} has shape {_shown(array.shape)}; allowed: {allowed}")


def _check_shapes(path: str, arrays: dict[str, np.ndarray], banked: bool) -> None:
    """Check that the matrices (H, ., .) fit together; messages omit a bank dimension that was
    added."""
    (heads, states, _), inputs = arrays["A"].shape, arrays["B"].shape[2]
    outputs = arrays["C"].shape[1]
    wanted = {"A": (states, states), "B": (states, inputs), "C": (outputs, states)}
    wanted["D"] = (outputs, inputs)
    for key, array in arrays.items():
        found = array.shape if banked else array.shape[1:]
        needed = (heads, *wanted[key]) if banked else wanted[key]
        if found != needed:
            raise UsageError(
                f"{path}: {key} has shape {found}, but with N={states} states, m={inputs} inputs "
                f"and p={outputs} outputs (rows of A and C, columns of B) it must be {needed}"
            )
    for key, least in (("A", heads), ("B", inputs), ("C", outputs)):
        if least == 0:
            found = arrays[key].shape if banked else arrays[key].shape[1:]
            raise UsageError(
                f"{path}: {key} is empty, shape {found}; only the number of states may be 0"
            )
