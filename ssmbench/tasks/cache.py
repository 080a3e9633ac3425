"""Arrays that take long to make, kept on disk: generated data, tokenised text, decoded archives.

An entry is a folder of ``.npy`` files and ``entry.json``, which holds what the arrays were made
from and the SHA-256 of each file. It appears whole or not at all, is checked before it is used,
and can be deleted at any time: it is made again when it is needed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ssmbench import jsonio
from ssmbench.errors import UsageError
from ssmbench.paths import absolute
from ssmbench.tasks.digest import digest_of, file_digest

CACHE_VARIABLE = "SSMBENCH_CACHE"
_ENTRY = "entry.json"

Arrays = dict[str, np.ndarray]


def cache_folder() -> Path:
    """``$SSMBENCH_CACHE``, else ``ssmbench`` in ``$XDG_CACHE_HOME``, else ``~/.cache/ssmbench``.

    Raises:
        UsageError: the variable does not name a path.
    """
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return absolute(named, CACHE_VARIABLE)
    return absolute(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "XDG_CACHE_HOME") / "ssmbench"


def cached_arrays(name: str, settings: Mapping[str, Any], make: Callable[[], Arrays]) -> Arrays:
    """The arrays that ``make()`` gives, memory-mapped and read-only; made once for all processes.

    ``settings`` is all that the arrays depend on: options, the generator's version, the digests of
    files that were read. Where the cache cannot be written, the arrays are made in memory, and a
    warning says so.

    Raises:
        UsageError: what ``make`` raises, or the cache's folder has no valid name.
    """
    entry = cache_folder() / name / digest_of(settings, ())
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        lock = entry.with_suffix(".lock").open("w")
    except OSError as error:
        return _unkept(entry, error, make())
    with lock:  # the kernel gives it back when a process ends
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = _read(entry)
        if found is not None:
            return found
        arrays = make()
        try:
            return _write(entry, settings, arrays)
        except OSError as error:
            return _unkept(entry, error, arrays)


def _unkept(entry: Path, error: OSError, arrays: Arrays) -> Arrays:
    _warn(f"{entry}: cannot be kept ({error.strerror or error}); set {CACHE_VARIABLE}")
    return arrays


def _read(entry: Path, quiet: bool = False) -> Arrays | None:
    """The arrays of an entry; None where there is none or a file is not as it was written, with a
    warning unless ``quiet``."""
    try:
        hashes = jsonio.loads((entry / _ENTRY).read_text())["sha256"]
        intact = all(file_digest(entry / f"{key}.npy") == value for key, value in hashes.items())
        if intact:
            return {key: np.load(entry / f"{key}.npy", mmap_mode="r") for key in hashes}
    except FileNotFoundError:
        if not entry.exists():
            return None
    except (UsageError, OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # whatever is wrong with it, it is made again
    if not quiet:
        _warn(f"{entry}: damaged; made again")
    return None


def _write(entry: Path, settings: Mapping[str, Any], arrays: Arrays) -> Arrays:
    partial = Path(tempfile.mkdtemp(prefix=f".{entry.name}-", dir=entry.parent))
    try:
        for key, values in arrays.items():
            np.save(partial / f"{key}.npy", values, allow_pickle=False)
        hashes = {key: file_digest(partial / f"{key}.npy") for key in arrays}
        content = {"settings": dict(settings), "sha256": hashes}
        (partial / _ENTRY).write_text(jsonio.dumps(content, indent=2))
        _place(partial, entry)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return {key: np.load(entry / f"{key}.npy", mmap_mode="r") for key in arrays}


def _place(partial: Path, entry: Path) -> None:
    """Rename a new entry to its place. Where locks do not reach, on some network file systems,
    another machine may have made the same one meanwhile, and be reading it: that one stays."""
    if _read(entry, quiet=True) is None:
        shutil.rmtree(entry, ignore_errors=True)
        try:
            partial.rename(entry)
        except OSError:
            if not entry.exists():
                raise


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr, flush=True)
