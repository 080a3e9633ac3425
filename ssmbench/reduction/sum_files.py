"""Exponential sums in files that may be wrong or malicious."""

from __future__ import annotations

import os
import zipfile

import numpy as np

from ssmbench.errors import UsageError, require, suggest
from ssmbench.reduction.sums import ExponentialSum
from ssmbench.systems.npz import read_npz

KEYS = ("a", "c")
#: Terms up to which a sum is read: a factor of the Gramian takes 16 bytes for each pair of them.
MOST_TERMS = 4096


def load_sum(path: str | os.PathLike[str]) -> ExponentialSum:
    """A sum from a NumPy ``.npz`` file with the exponents a (M,) and the coefficients c (M,).

    Nothing is ever unpickled.

    Raises:
        UsageError: one line that names the file, the key, what was found and what is allowed.
    """
    path = os.fspath(path)
    arrays = read_npz(path, _members, " of a and c")
    count = max(array.size for array in arrays.values())
    require(count <= MOST_TERMS, f"{path}: {count} terms; allowed: at most {MOST_TERMS}")
    try:
        return ExponentialSum(**arrays)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def save_sum(path: str | os.PathLike[str], given: ExponentialSum) -> None:
    """Write a sum as an ``.npz`` file that :func:`load_sum` reads.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        with open(path, "wb") as stream:  # numpy.savez would append .npz to a path
            np.savez(stream, a=given.a, c=given.c)
    except OSError as error:
        raise UsageError(f"{os.fspath(path)}: cannot be written: {error.strerror}") from None


def _members(path: str, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members by key, after a check that each is there once and no other."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        key = info.filename.removesuffix(".npy")
        if key not in KEYS or key == info.filename:
            raise UsageError(f"{path}: unknown key {key[:40]!r}; {suggest(key[:40], KEYS)}")
        if key in members:
            raise UsageError(f"{path}: holds {key} twice")
        members[key] = info
    missing = [key for key in KEYS if key not in members]
    found = ", ".join(members) or "nothing"
    require(
        not missing,
        f"{path}: missing {' and '.join(missing)} (found: {found}); needed: a (M,), the exponents, "
        "and c (M,), the coefficients",
    )
    return members
